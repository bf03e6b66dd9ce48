package org.pockettune

import com.sun.management.ThreadMXBean
import org.pockettune.internal.LARGEST_JSON
import org.pockettune.internal.parseManifest
import org.pockettune.internal.parseSafetensorsHeader
import org.pockettune.internal.sha256
import java.lang.management.ManagementFactory
import java.nio.file.Path
import kotlin.io.path.readText
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

private const val MOST_VALUES = 1 shl 16
private const val MOST_TEXT = 1 shl 20
private const val ENTRY_VALUES = 6

private const val TWICE = 2 * (16L shl 20)

// What a valid manifest is turned into comes on top of its tree, and so does the garbage of reading 60,000 doubles.
private const val TWICE_AND_GARBAGE = TWICE * 5 / 4

/**
 * The documents that take most memory for their size: as long as a document may be, with as many values as it may have.
 * What is counted is everything that reading them allocates, garbage too; what is held at any moment is less.
 */
class MemoryTest {
    private val memory = ManagementFactory.getThreadMXBean() as ThreadMXBean

    /** Reads a document in place of the 16 MiB that it is; gives the code with which it is refused. */
    private fun read(
        what: String,
        bytes: ByteArray,
        most: Long = TWICE,
        body: () -> Unit,
    ): ErrorCode? {
        assertEquals(LARGEST_JSON, bytes.size.toLong())
        val before = memory.currentThreadAllocatedBytes
        val code =
            try {
                body()
                null
            } catch (failure: PocketTuneException) {
                failure.code
            }
        val allocated = memory.currentThreadAllocatedBytes - before
        println("figure: ${what.take(80)}: ${bytes.size + allocated} bytes, the document's own among them")
        assertTrue(allocated + bytes.size <= most, "$what: $allocated bytes beside the document")
        return code
    }

    private fun padded(
        before: String,
        after: String,
    ): ByteArray {
        val begin = before.toByteArray()
        return begin + " ".repeat(LARGEST_JSON.toInt() - begin.size - after.length).toByteArray() + after.toByteArray()
    }

    private fun manifest(rest: String): ByteArray {
        val prefix = "{\"bundle_id\":\"${"0".repeat(64)}\",\"signature\":\"\","
        val whole = padded(prefix + rest, "}")
        val canonical = "{".toByteArray() + whole.copyOfRange(prefix.length, whole.size)
        sha256(canonical).toByteArray().copyInto(whole, "{\"bundle_id\":\"".length)
        return whole
    }

    @Test
    fun `no manifest takes more than twice its cap`() {
        val nested = "{\"a\":".repeat(30) + "0" + "}".repeat(30)
        val pieces =
            mapOf("1000" to 1, "0.5" to 1, "\"abcd\"" to 1, "[0]" to 2, "[]" to 1, "{\"abcd\":0}" to 2) +
                mapOf("{\"a\":0,\"b\":0}" to 3, nested to 31, "\"\\u00e9\\u4e2d\"" to 1)
        for ((piece, values) in pieces) {
            val text = piece.split('"').filterIndexed { index, _ -> index % 2 == 1 }.sumOf { it.length }
            val count = minOf((MOST_VALUES - 100) / values, (MOST_TEXT - 1000) / maxOf(text, 1))
            val bytes = manifest("\"a\":[" + List(count) { piece }.joinToString(",") + "]")
            assertEquals(ErrorCode.BUNDLE_MANIFEST_INVALID, read("$count times $piece", bytes) { parseManifest(bytes) })
        }
        for (letter in listOf("x", "\u4e2d", "\\u4e2d")) {
            val text = letter.repeat((MOST_TEXT - 1000) / letter.toByteArray().size)
            val whole = manifest("\"a\":\"$text\"")
            assertEquals(ErrorCode.BUNDLE_MANIFEST_INVALID, read("a text of $letter", whole) { parseManifest(whole) })
        }
        // One value too many, at the very beginning.
        val bytes = manifest("\"a\":[" + "0,".repeat(MOST_VALUES) + "0]")
        assertEquals(ErrorCode.BUNDLE_MANIFEST_INVALID, read("too many values", bytes) { parseManifest(bytes) })
    }

    @Test
    fun `nor does a valid one`() {
        val golden = vectors.resolve("bundle/manifest.json").readText().trim()
        val rest = golden.substring("{\"bundle_id\":\"${"0".repeat(64)}\",\"signature\":\"\",".length).dropLast(1)
        val long = "n".repeat(MOST_TEXT / 8)
        val edits =
            mapOf(
                "hyperparameters" to Pair("\"hyper\":{\"learning_rate\":", List(60_000) { "\"h$it\":0.5," }.joinToString("")),
                "files" to Pair("\"files\":{", List(9_000) { "\"f$it\":{\"bytes\":1,\"sha256\":\"${"0".repeat(64)}\"}," }.joinToString("")),
                "tensors" to
                    Pair(
                        "\"tensors\":{",
                        List(9_000) { "\"$it\":{\"dtype\":\"int8\",\"file\":null,\"role\":\"model\",\"shape\":[1]}," }.joinToString(""),
                    ),
                // A long name's members: a message about one would name it.
                "long names" to
                    Pair(
                        "\"tensors\":{",
                        "\"$long\":{\"dtype\":\"int8\",\"file\":null,\"role\":\"model\",\"shape\":[9000],\"views\":[" +
                            List(9_000) { "{\"name\":\"$it\",\"offset\":$it,\"shape\":[1]}" }.joinToString(",") + "]},",
                    ),
            )
        for ((what, edit) in edits) {
            assertTrue(edit.first in rest)
            val text =
                if (what == "hyperparameters") {
                    rest.replaceFirst("\"hyper\":{\"learning_rate\"", "\"hyper\":{${edit.second}\"learning_rate\"")
                } else {
                    rest.replaceFirst(edit.first, edit.first + edit.second)
                }
            val bytes = manifest(text)
            assertEquals(null, read(what, bytes, TWICE_AND_GARBAGE) { parseManifest(bytes) })
        }
    }

    @Test
    fun `no tensor file's header takes more than twice its cap`() {
        val count = (MOST_VALUES - 1) / (ENTRY_VALUES + 1)
        val entries =
            List(count) { "\"t$it\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[$it,${it + 1}]}" }.joinToString(",")
        val header = padded("{$entries}", "")
        assertEquals(null, read("$count tensors", header) { parseSafetensorsHeader(Path.of("x"), header, count.toLong()) })
        val many = padded("{\"__metadata__\":{" + List(MOST_VALUES - 2) { "\"%x\":\"\"".format(it) }.joinToString(",") + "}}", "")
        assertEquals(null, read("metadata", many) { parseSafetensorsHeader(Path.of("x"), many, 0) })
        val more = padded("{\"__metadata__\":{" + List(MOST_VALUES - 1) { "\"%x\":\"\"".format(it) }.joinToString(",") + "}}", "")
        assertEquals(ErrorCode.SAFETENSORS_INVALID, read("more", more) { parseSafetensorsHeader(Path.of("x"), more, 0) })
    }
}
