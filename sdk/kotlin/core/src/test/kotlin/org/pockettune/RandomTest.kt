package org.pockettune

import org.pockettune.internal.JsonValue
import org.pockettune.internal.RandomKey
import org.pockettune.internal.fillInteger
import org.pockettune.internal.fillNormal
import org.pockettune.internal.fillUniform
import org.pockettune.internal.permutation
import java.nio.ByteBuffer
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** `spec/vectors/random.json`, bit for bit. */
class RandomTest {
    private val json = readJson(vectors.resolve("random.json"))

    private fun key(entry: JsonValue) =
        RandomKey(entry["seed"].text.toULong().toLong(), entry["stream"].long, entry["index"].text.toULong().toLong())

    @Test
    fun `words are those of Philox`() {
        for (entry in json["words"].items) {
            val words = IntArray(4).also { key(entry).block(entry["block"].long.toInt(), it) }
            assertEquals(entry["words"].items.map { it.long }, words.map { it.toLong() and 0xffffffffL })
        }
    }

    @Test
    fun `integers stay in their range`() {
        for (entry in json["integers"].items) {
            val expected = entry["values"].items.map { it.long }
            val buffer = ByteBuffer.allocate(8 * expected.size)
            fillInteger(key(entry), entry["low"].long, entry["high"].long, buffer)
            buffer.flip()
            assertEquals(expected, expected.map { buffer.getLong() })
        }
    }

    @Test
    fun `uniforms and normals have the same bits`() {
        for ((kind, fill) in listOf("uniforms" to ::fillUniform, "normals" to ::fillNormal)) {
            val entries = json[kind].items
            assertTrue(entries.isNotEmpty())
            for (entry in entries) {
                val expected = entry["bits"].items.map { it.long }
                val buffer = ByteBuffer.allocate(4 * expected.size)
                fill(key(entry), buffer)
                buffer.flip()
                assertEquals(expected, expected.map { buffer.getInt().toLong() and 0xffffffffL })
            }
        }
    }

    @Test
    fun `a permutation is sorted by words`() {
        val key = RandomKey(7, 49, 3)
        val words = ArrayList<Long>().apply { key.words(1000) { add(it) } }
        assertEquals((0 until 1000).sortedBy { words[it] }, permutation(key, 1000).toList())
    }
}
