package org.pockettune

import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.yield
import org.junit.jupiter.api.io.TempDir
import org.pockettune.internal.DurableFile
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.TensorBytes
import org.pockettune.internal.readViews
import org.pockettune.internal.toHalf
import org.pockettune.internal.writeFile
import org.pockettune.internal.writeSafetensors
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.TimeUnit
import kotlin.io.path.exists
import kotlin.io.path.readBytes
import kotlin.io.path.writeBytes
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

class StoreTest {
    @TempDir
    lateinit var folder: Path

    private val bundle = Bundle.open(vectors.resolve("bundle"))
    private val adapter = vectors.resolve("bundle/state/adapter.safetensors")

    private fun store(quota: Long? = null) = Store(folder.resolve("store"), quota)

    private fun code(body: () -> Unit): ErrorCode = assertFailsWith<PocketTuneException> { body() }.code

    /** A file with the bundle's views, made here byte by byte. */
    private fun adapterFile(half: Boolean = false): Path {
        val tensor = bundle.manifest.tensors.getValue(checkNotNull(bundle.manifest.adapter).tensors)
        val tensors =
            tensor.views.map { view ->
                val elements = view.shape.fold(1) { product, size -> product * size }
                val bytes = ByteBuffer.allocate(elements * if (half) 2 else 4).order(ByteOrder.LITTLE_ENDIAN)
                repeat(elements) { if (half) bytes.putShort(toHalf(it + 0.5f)) else bytes.putFloat(it + 0.5f) }
                bytes.flip()
                TensorBytes(view.name, if (half) DType.FLOAT16 else DType.FLOAT32, view.shape, bytes)
            }
        val path = folder.resolve("made.safetensors")
        writeSafetensors(path, tensors, emptyMap())
        return path
    }

    @Test
    fun `an adapter comes in, is listed, goes out with the same bytes, and goes away`() {
        val adapters = store().adapters
        assertEquals(emptyList(), adapters.list())
        val made = adapterFile()
        adapters.import("me", made, bundle)
        assertEquals(listOf("me" to Files.size(made)), adapters.list().map { it.name to it.bytes })
        adapters.export("me", folder.resolve("out"))
        assertContentEquals(made.readBytes(), folder.resolve("out").readBytes())
        adapters.delete("me")
        assertEquals(emptyList(), adapters.list())
        assertEquals(ErrorCode.IO_FAILED, code { adapters.delete("me") })
        assertEquals(ErrorCode.IO_FAILED, code { adapters.export("me", folder.resolve("out")) })
    }

    @Test
    fun `halves are read as floats`() {
        val tensor = bundle.manifest.tensors.getValue(checkNotNull(bundle.manifest.adapter).tensors)
        val packs =
            listOf(false, true).map { half ->
                ByteArray(tensor.bytes.toInt()).also { readViews(adapterFile(half), tensor, ByteBuffer.wrap(it)) }
            }
        assertContentEquals(packs[0], packs[1])
        assertTrue(packs[0].any { it != 0.toByte() })
    }

    @Test
    fun `what is no adapter of the bundle stays out`() {
        val adapters = store().adapters
        assertEquals(ErrorCode.TENSOR_MISMATCH, code { adapters.import("me", vectors.resolve("foreign.safetensors"), bundle) })
        assertEquals(ErrorCode.TENSOR_MISMATCH, code { adapters.import("me", adapter, bundle) })
        assertEquals(ErrorCode.SAFETENSORS_INVALID, code { adapters.import("me", vectors.resolve("golden.json"), bundle) })
        assertEquals(emptyList(), adapters.list())
    }

    @Test
    fun `names outside the rule are refused`() {
        val adapters = store().adapters
        for (name in listOf("", ".", "..", ".a", "a/b", "a b", "\u00e9", "a\u0000", "x".repeat(65))) {
            assertEquals(ErrorCode.CONFIG_INVALID, code { adapters.delete(name) }, name)
        }
        assertEquals(ErrorCode.CONFIG_INVALID, code { store().bundles.open("../../elsewhere") })
    }

    @Test
    fun `the quota refuses beforehand`() {
        val made = adapterFile()
        val size = Files.size(made)
        assertEquals(ErrorCode.QUOTA_EXCEEDED, code { store(size - 1).adapters.import("me", made, bundle) })
        val store = store(size)
        assertEquals(0, store.usedBytes())
        store.adapters.import("me", made, bundle)
        assertEquals(size, store.usedBytes())
        assertEquals(ErrorCode.QUOTA_EXCEEDED, code { store.adapters.import("you", made, bundle) })
        assertEquals(listOf("me"), store.adapters.list().map { it.name })
    }

    @Test
    fun `all personal data go, bundles stay, links are not followed`() {
        val store = store()
        store.adapters.import("me", adapterFile(), bundle)
        store.lockRun("me") {}.close()
        writeFile(store.resultFile("me"), ByteArray(10))
        val outside = folder.resolve("outside").also { it.writeBytes(ByteArray(3)) }
        Files.createSymbolicLink(store.runFolder("me").resolve("link"), outside)
        Files.createDirectories(store.bundlesFolder.resolve("kept"))
        val deleted = runBlocking { store.deletePersonalData() }
        assertEquals(4, deleted.files)
        assertTrue(deleted.bytes >= 10 + Files.size(adapterFile()))
        assertFalse(store.root.resolve("runs").exists() || store.root.resolve("adapters").exists())
        assertTrue(outside.exists() && store.bundlesFolder.resolve("kept").exists())
        assertEquals(Deleted(0, 0), runBlocking { store.deletePersonalData() })
    }

    @Test
    fun `a run at work is stopped before its data go`() =
        runBlocking {
            val store = store()
            var asked = false
            val lock = store.lockRun("me") { asked = true }
            assertEquals(ErrorCode.IO_FAILED, code { store.lockRun("me") {} })
            val deleted = async { store.deletePersonalData() }
            while (!asked) yield()
            assertTrue(store.workFolder("me").exists())
            assertEquals(ErrorCode.IO_FAILED, code { store.lockRun("you") {} })
            lock.close()
            deleted.await()
            assertFalse(store.workFolder("me").exists())
            store.lockRun("me") {}.close()
        }

    @Test
    fun `a run of another process is left alone`() {
        val store = store()
        store.lockRun("me") {}.close()
        val holder = holdLock(store.workFolder("me").resolve("lock"))
        try {
            assertEquals(ErrorCode.IO_FAILED, code { store.lockRun("me") {} })
            assertEquals(ErrorCode.IO_FAILED, code { runBlocking { store.deletePersonalData() } })
            assertTrue(store.workFolder("me").exists())
        } finally {
            holder.destroy()
            holder.waitFor(10, TimeUnit.SECONDS)
        }
        runBlocking { store.deletePersonalData() }
        assertFalse(store.workFolder("me").exists())
    }

    /** Another JVM that holds a lock until it is killed. */
    private fun holdLock(path: Path): Process {
        val source = folder.resolve("Hold.java")
        source.writeBytes(
            """
            class Hold {
                public static void main(String[] arguments) throws Exception {
                    var file = new java.io.RandomAccessFile(arguments[0], "rw");
                    if (file.getChannel().tryLock() == null) return;
                    System.out.println("held");
                    Thread.sleep(60000);
                }
            }
            """.trimIndent().toByteArray(),
        )
        val java = Path.of(System.getProperty("java.home"), "bin", "java").toString()
        val process = ProcessBuilder(java, "$source", "$path").redirectErrorStream(true).start()
        assertEquals("held", process.inputStream.bufferedReader().readLine())
        return process
    }

    @Test
    fun `a file that is not committed leaves what was there`() {
        val path = folder.resolve("file").also { it.writeBytes(byteArrayOf(1)) }
        DurableFile(path).use { file ->
            file.append(byteArrayOf(2, 3))
            assertEquals(ErrorCode.IO_FAILED, code { DurableFile(path) })
        }
        assertContentEquals(byteArrayOf(1), path.readBytes())
        assertEquals(listOf("file"), Files.list(folder).use { all -> all.map { it.fileName.toString() }.toList() })
        folder.resolve("file.partial").writeBytes(ByteArray(100))
        writeFile(path, byteArrayOf(4))
        assertContentEquals(byteArrayOf(4), path.readBytes())
        assertEquals(1, Files.list(folder).use { it.count() })
    }

    @Test
    fun `a file of the bundle that changes later is not handed out`() {
        val copy = folder.resolve("bundle")
        vectors.resolve("bundle").toFile().copyRecursively(copy.toFile())
        val opened = Bundle.open(copy)
        val name = opened.manifest.files.keys.first()
        assertEquals(copy.resolve(name), opened.file(name))
        Files.write(copy.resolve(name), byteArrayOf(0), java.nio.file.StandardOpenOption.APPEND)
        assertEquals(ErrorCode.BUNDLE_CORRUPT, code { opened.file(name) })
    }
}
