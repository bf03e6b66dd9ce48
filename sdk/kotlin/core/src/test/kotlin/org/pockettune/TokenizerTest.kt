package org.pockettune

import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.pockettune.internal.JsonObject
import org.pockettune.internal.Tokenizer
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

    @Test
    fun `a word of a million letters is refused, not merged`() {
        val failure = assertFailsWith<PocketTuneException> { tokenizer.encode("x".repeat(1_000_000)) }
        assertEquals(ErrorCode.PROMPT_TOO_LONG, failure.code)
    }
}
