package org.pockettune

import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.io.TempDir
import org.pockettune.internal.JsonObject
import org.pockettune.internal.Tokenizer
import java.nio.file.Path
import kotlin.io.path.writeBytes
import kotlin.io.path.writeText
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

/** `spec/vectors/sdk/tokenizer.json`: the ids of transformers' CLIP tokenizer. */
class TokenizerTest {
    private val json = readJson(vectors.resolve("sdk/tokenizer.json"))
    private val tokenizer =
        Tokenizer(
            vectors.resolve("sdk/tokenizer/vocab.json"),
            vectors.resolve("sdk/tokenizer/merges.txt"),
            TextEncoding(json["max_length"].long.toInt(), "", "", json["unconditional_ids"].items.map { it.long }),
        )

    @TestFactory
    fun prompts(): List<DynamicTest> =
        json["prompts"].items.map { entry ->
            DynamicTest.dynamicTest("'${entry["prompt"].text}'") {
                val expected = (entry as JsonObject).members["ids"]?.items?.map { it.long }
                if (expected != null) {
                    assertEquals(expected, tokenizer.encode(entry["prompt"].text).toList())
                } else {
                    val failure = assertFailsWith<PocketTuneException> { tokenizer.encode(entry["prompt"].text) }
                    assertEquals(entry["code"].text, failure.code.id)
                }
            }
        }

    @TestFactory
    fun files(
        @TempDir folder: Path,
    ): List<DynamicTest> =
        json["files"].items.map { entry ->
            DynamicTest.dynamicTest(entry["name"].text) {
                val vocabulary = folder.resolve("vocab.json").also { it.writeText(entry["vocab"].text) }
                val merges = folder.resolve("merges.txt").also { it.writeText(entry["merges"].text) }
                val encode = { Tokenizer(vocabulary, merges, encoding(0, 1, 1, 1)).encode("ab").toList() }
                val expected = (entry as JsonObject).members["ids"]?.items?.map { it.long }
                if (expected != null) {
                    assertEquals(expected, encode())
                } else {
                    assertEquals(entry["code"].text, assertFailsWith<PocketTuneException> { encode() }.code.id)
                }
            }
        }

    @Test
    fun `merges that are not UTF-8 are refused`(
        @TempDir folder: Path,
    ) {
        val merges = folder.resolve("merges.txt").also { it.writeBytes(byteArrayOf(-1)) }
        val vocabulary = vectors.resolve("sdk/tokenizer/vocab.json")
        val failure = assertFailsWith<PocketTuneException> { Tokenizer(vocabulary, merges, encoding(0, 1)) }
        assertEquals(ErrorCode.BUNDLE_CORRUPT, failure.code)
    }

    @Test
    fun `a text encoder without a place for start and end is refused`() {
        val folder = vectors.resolve("sdk/tokenizer")
        val failure =
            assertFailsWith<PocketTuneException> {
                Tokenizer(folder.resolve("vocab.json"), folder.resolve("merges.txt"), encoding(0))
            }
        assertEquals(ErrorCode.BUNDLE_MANIFEST_INVALID, failure.code)
    }

    private fun encoding(vararg unconditional: Long) = TextEncoding(unconditional.size, "", "", unconditional.toList())

    @Test
    fun `a word of a million letters is refused, not merged`() {
        val failure = assertFailsWith<PocketTuneException> { tokenizer.encode("x".repeat(1_000_000)) }
        assertEquals(ErrorCode.PROMPT_TOO_LONG, failure.code)
    }
}
