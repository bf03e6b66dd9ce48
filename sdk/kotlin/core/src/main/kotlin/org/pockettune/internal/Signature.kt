package org.pockettune.internal

import java.security.GeneralSecurityException
import java.security.Signature
import java.security.interfaces.ECPublicKey

private const val NUMBER_BYTES = 32
private const val SIGNATURE_BYTES = 2 * NUMBER_BYTES

// ASN.1 tags.
private const val INTEGER: Byte = 0x02
private const val SEQUENCE: Byte = 0x30

/**
 * Whether [signature] (the numbers r and s, 32 bytes each, big-endian) is ECDSA with SHA-256 over [message].
 *
 * Java can read that form itself since 9, Android only in later versions than we support: hence the DER.
 */
internal fun verifyP256(
    key: ECPublicKey,
    message: ByteArray,
    signature: ByteArray,
): Boolean {
    if (signature.size != SIGNATURE_BYTES) return false
    val verifier = Signature.getInstance("SHA256withECDSA")
    return try {
        verifier.initVerify(key)
        verifier.update(message)
        verifier.verify(toDer(signature))
    } catch (_: GeneralSecurityException) {
        // Numbers out of range are no error of ours, only no signature.
        false
    }
}

private fun toDer(signature: ByteArray): ByteArray {
    val numbers = derInteger(signature.copyOfRange(0, NUMBER_BYTES)) + derInteger(signature.copyOfRange(NUMBER_BYTES, SIGNATURE_BYTES))
    return byteArrayOf(SEQUENCE, numbers.size.toByte()) + numbers
}

/** A positive number: without leading zeros, but with one where the first bit would read as a sign. */
private fun derInteger(bigEndian: ByteArray): ByteArray {
    val first = bigEndian.indexOfFirst { it != 0.toByte() }
    val digits = if (first < 0) byteArrayOf(0) else bigEndian.copyOfRange(first, bigEndian.size)
    val signed = if (digits[0] < 0) byteArrayOf(0) + digits else digits
    return byteArrayOf(INTEGER, signed.size.toByte()) + signed
}
