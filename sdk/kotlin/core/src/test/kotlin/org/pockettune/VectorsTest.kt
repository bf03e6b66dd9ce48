package org.pockettune

import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.pockettune.internal.JsonObject
import org.pockettune.internal.JsonValue
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.sha256
import java.nio.ByteBuffer
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** The shared vectors: every reader takes the golden ones and refuses the hostile ones with the same codes. */
class VectorsTest {
    @TestFactory
    fun golden(): List<DynamicTest> =
        readJson(vectors.resolve("golden.json")).items.map { entry ->
            DynamicTest.dynamicTest(entry["name"].text) {
                when (entry["kind"].text) {
                    "bundle" -> assertEquals(entry["bundle_id"].text, Bundle.open(vectors.resolve(entry["name"].text)).id)
                    else -> checkTensors(entry)
                }
            }
        }

    private fun checkTensors(entry: JsonValue) {
        SafetensorsFile(vectors.resolve(entry["name"].text)).use { file ->
            val expected = (entry["tensors"] as JsonObject).members
            assertEquals(expected.keys, file.header.entries.mapTo(HashSet()) { it.name })
            for (tensor in file.header.entries) {
                val wanted = expected.getValue(tensor.name)
                assertEquals(wanted["dtype"].text, tensor.dtype.id)
                assertEquals(wanted["shape"].items.map { it.long.toInt() }, tensor.shape)
                val read = ByteArray(tensor.bytes.toInt()).also { file.read(tensor, ByteBuffer.wrap(it)) }
                assertEquals(wanted["sha256"].text, sha256(read))
                val mapped = ByteArray(read.size).also { file.map(tensor).get(it) }
                assertTrue(read.contentEquals(mapped))
            }
        }
    }

    @TestFactory
    fun hostile(): List<DynamicTest> =
        readJson(vectors.resolve("hostile.json"))
            .items
            // Updates are read where clients learn together, which this SDK does not do yet.
            .filter { it["kind"].text != "update" }
            .map { entry ->
                DynamicTest.dynamicTest(entry["name"].text) {
                    val path = vectors.resolve("hostile").resolve(entry["name"].text)
                    val failure =
                        assertFailsWith<PocketTuneException> {
                            if (entry["kind"].text == "bundle") Bundle.open(path) else SafetensorsFile(path).close()
                        }
                    assertEquals(entry["code"].text, failure.code.id)
                    assertTrue(failure.message.orEmpty().all { it in ' '..'~' }, failure.message)
                }
            }
}
