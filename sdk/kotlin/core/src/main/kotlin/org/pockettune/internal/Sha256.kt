package org.pockettune.internal

import java.security.MessageDigest

private const val DIGITS = "0123456789abcdef"

internal fun sha256Digest(): MessageDigest = MessageDigest.getInstance("SHA-256")

/** The digest as 64 lower-case hexadecimal digits; the digest starts anew. */
internal fun MessageDigest.hex(): String {
    val bytes = digest()
    val text = StringBuilder(2 * bytes.size)
    for (byte in bytes) {
        text.append(DIGITS[byte.toInt() shr 4 and 0xf])
        text.append(DIGITS[byte.toInt() and 0xf])
    }
    return text.toString()
}

/** The SHA-256 of bytes, as 64 lower-case hexadecimal digits. */
internal fun sha256(bytes: ByteArray): String = sha256Digest().apply { update(bytes) }.hex()
