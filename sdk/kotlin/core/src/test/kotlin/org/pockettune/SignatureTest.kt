package org.pockettune

import org.pockettune.internal.JsonBoolean
import org.pockettune.internal.JsonText
import java.util.Base64
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** `spec/vectors/sdk/signatures.json`. */
class SignatureTest {
    private val json = readJson(vectors.resolve("sdk/signatures.json"))

    private fun decode(text: String): ByteArray = Base64.getDecoder().decode(text)

    @Test
    fun `signatures hold where they should`() {
        for (entry in json["messages"].items) {
            val key = BundleKey(decode(entry["key"].text))
            val found = key.verify(decode(entry["message"].text), decode(entry["signature"].text))
            assertEquals((entry["valid"] as JsonBoolean).value, found)
        }
    }

    @Test
    fun `one changed bit anywhere is no signature`() {
        val entry = json["messages"].items.first()
        val key = BundleKey(decode(entry["key"].text))
        val signature = decode(entry["signature"].text)
        assertTrue(key.verify(decode(entry["message"].text), signature))
        for (position in signature.indices) {
            val changed = signature.copyOf().also { it[position] = (it[position].toInt() xor 1).toByte() }
            assertFalse(key.verify(decode(entry["message"].text), changed))
        }
        assertFalse(key.verify(decode(entry["message"].text), signature.copyOf(63)))
        assertFalse(key.verify(decode(entry["message"].text), ByteArray(64) { -1 }))
    }

    @Test
    fun `bundles open with their maker's key only`() {
        for (entry in json["bundles"].items) {
            val open = { Bundle.open(vectors.resolve(entry["bundle"].text), BundleKey(decode(entry["key"].text))) }
            val code = (entry["code"] as? JsonText)?.value
            if (code == null) open() else assertEquals(code, assertFailsWith<PocketTuneException> { open() }.code.id)
        }
    }

    @Test
    fun `other keys are refused`() {
        for (spki in listOf(ByteArray(0), ByteArray(91), decode(json["messages"].items.first()["key"].text).copyOf(90))) {
            assertEquals(ErrorCode.CONFIG_INVALID, assertFailsWith<PocketTuneException> { BundleKey(spki) }.code)
        }
    }
}
