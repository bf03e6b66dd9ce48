package org.pockettune

import com.sun.management.ThreadMXBean
import org.junit.jupiter.api.io.TempDir
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.parseManifest
import org.pockettune.internal.readViews
import org.pockettune.internal.sha256
import java.lang.management.ManagementFactory
import java.nio.ByteBuffer
import java.nio.file.Path
import kotlin.io.path.readBytes
import kotlin.io.path.writeBytes
import kotlin.random.Random
import kotlin.test.Test
import kotlin.test.assertTrue

/**
 * Files with a few seeded changes: each is read or refused with a typed error, and takes no more memory than its size
 * allows for. `-Dpockettune.mutations=100000` for more of them.
 */
class MutationTest {
    @TempDir
    lateinit var folder: Path

    private val count = Integer.getInteger("pockettune.mutations", 3000)
    private val memory = ManagementFactory.getThreadMXBean() as ThreadMXBean

    // What a value in JSON may turn into: limits of integers and floats, other types, deep nesting, odd names.
    private val pieces =
        listOf(
            "0",
            "-1",
            "-0",
            "1e999",
            "1.0",
            "2147483648",
            "9007199254740992",
            "18446744073709551616",
            "null",
            "true",
            "\"\"",
            "{}",
            "[]",
        )
            .plus(listOf("[".repeat(40), "{\"a\":".repeat(40), "\"\\ud800\"", "\u0000", "\uFEFF", "\"a\":1,", "}", "]", ",", ":", "\""))
            .plus(listOf("\"../x\"", "\"float16\"", "\"state.x\"", "\"random.integer\"", "9".repeat(400), "\"" + "x".repeat(300) + "\""))
            .map { it.toByteArray() }

    private fun mutate(
        bytes: ByteArray,
        random: Random,
    ): ByteArray {
        var mutated = bytes
        repeat(random.nextInt(1, 4)) {
            val at = random.nextInt(mutated.size + 1)
            val end = minOf(mutated.size, at + random.nextInt(0, 24))
            val middle =
                when (random.nextInt(5)) {
                    0 -> ByteArray(0)
                    1 -> ByteArray(random.nextInt(1, 4)).also(random::nextBytes)
                    2 -> pieces.random(random)
                    3 -> mutated.copyOfRange(at, end) + mutated.copyOfRange(at, end)
                    else -> value(mutated, random) ?: return@repeat
                }
            val cut = if (random.nextBoolean()) end else at
            mutated = mutated.copyOf(at) + middle + mutated.copyOfRange(cut, mutated.size)
        }
        return mutated
    }

    /** A piece of the file itself, so that names and shapes meet in new places. */
    private fun value(
        bytes: ByteArray,
        random: Random,
    ): ByteArray? {
        if (bytes.size < 2) return null
        val begin = random.nextInt(bytes.size - 1)
        return bytes.copyOfRange(begin, minOf(bytes.size, begin + random.nextInt(1, 200)))
    }

    /** Reads; true when the file was taken. */
    private fun read(
        size: Int,
        allowed: String,
        body: () -> Unit,
    ): Boolean {
        val before = memory.currentThreadAllocatedBytes
        val taken =
            try {
                body()
                true
            } catch (failure: PocketTuneException) {
                assertTrue(Regex(allowed).matches(failure.code.id), "$failure")
                assertTrue(failure.message.orEmpty().all { it in ' '..'~' } && failure.message.orEmpty().length < 1000)
                false
            }
        val allocated = memory.currentThreadAllocatedBytes - before
        assertTrue(allocated < 200L * size + (1 shl 20), "$allocated bytes for a file of $size")
        return taken
    }

    @Test
    fun manifests() {
        val random = Random(1)
        val golden = listOf("bundle", "bundle_classification", "bundle_tolerant").map { vectors.resolve("$it/manifest.json").readBytes() }
        var taken = 0
        repeat(count) {
            val bytes = golden.random(random)
            val prefix = "{\"bundle_id\":\"${"0".repeat(64)}\",\"signature\":\"\",".length
            val rest = mutate(bytes.copyOfRange(prefix, bytes.size), random)
            val id = sha256("{".toByteArray() + rest)
            var whole = "{\"bundle_id\":\"$id\",\"signature\":\"\",".toByteArray() + rest
            // Mostly with the right id, or nothing but the hash would ever be looked at.
            if (random.nextInt(20) == 0) whole = mutate(whole, random)
            if (read(whole.size, "bundle_(manifest_invalid|corrupt|format_unsupported|path_invalid)") { parseManifest(whole) }) taken++
        }
        assertTrue(taken in 1 until count, "$taken of $count manifests were taken")
    }

    @Test
    fun safetensors() {
        val random = Random(2)
        val golden = listOf("every_dtype", "foreign", "no_tensors").map { vectors.resolve("$it.safetensors").readBytes() }
        val path = folder.resolve("mutated")
        var taken = 0
        repeat(count) {
            val bytes = withHeader(golden.random(random), random)
            path.writeBytes(bytes)
            val read =
                read(bytes.size, "safetensors_invalid") {
                    SafetensorsFile(path).use { file ->
                        file.header.entries.forEach { file.read(it, ByteBuffer.allocate(it.bytes.toInt())) }
                    }
                }
            if (read) taken++
        }
        assertTrue(taken in 1 until count, "$taken of $count files were taken")
    }

    @Test
    fun adapters() {
        val random = Random(3)
        val bundle = Bundle.open(vectors.resolve("bundle"))
        val tensor = bundle.manifest.tensors.getValue(checkNotNull(bundle.manifest.adapter).tensors)
        val views =
            tensor.views.joinToString(",") { view ->
                val begin = view.offset * 4
                val end = begin + view.shape.fold(4) { product, size -> product * size }
                "\"${view.name}\":{\"dtype\":\"F32\",\"shape\":${view.shape},\"data_offsets\":[$begin,$end]}"
            }
        val header = "{$views}".replace(" ", "").toByteArray()
        val golden =
            ByteBuffer.allocate(8).putLong(java.lang.Long.reverseBytes(header.size.toLong())).array() + header +
                ByteArray(tensor.bytes.toInt())
        val path = folder.resolve("mutated")
        var taken = 0
        repeat(count) {
            val bytes = withHeader(golden, random)
            path.writeBytes(bytes)
            val pack = ByteBuffer.allocate(tensor.bytes.toInt())
            if (read(bytes.size, "safetensors_invalid|tensor_mismatch") { readViews(path, tensor, pack) }) taken++
        }
        assertTrue(taken in 1 until count, "$taken of $count adapters were taken")
    }

    /** A file with a changed header; its length is mostly that of the header, or only it would ever be looked at. */
    private fun withHeader(
        bytes: ByteArray,
        random: Random,
    ): ByteArray {
        val length = ByteBuffer.wrap(bytes).order(java.nio.ByteOrder.LITTLE_ENDIAN).getLong().toInt()
        val header = mutate(bytes.copyOfRange(8, 8 + length), random)
        val prefix = ByteBuffer.allocate(8).order(java.nio.ByteOrder.LITTLE_ENDIAN).putLong(header.size.toLong()).array()
        if (random.nextInt(10) == 0) prefix[random.nextInt(8)] = random.nextInt().toByte()
        val data = bytes.copyOfRange(8 + length, bytes.size)
        return prefix + header + if (random.nextInt(10) == 0) mutate(data, random) else data
    }
}
