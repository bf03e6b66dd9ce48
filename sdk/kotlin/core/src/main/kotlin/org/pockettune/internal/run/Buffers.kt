package org.pockettune.internal.run

import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.internal.fromHalf
import org.pockettune.internal.toHalf
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.sign
import kotlin.math.truncate

/** Memory that an engine can use: direct, zeros. Raises `out_of_memory`. */
internal fun directBuffer(bytes: Long): ByteBuffer {
    fun fail(): Nothing = throw PocketTuneException(ErrorCode.OUT_OF_MEMORY, "no memory for $bytes bytes: close other apps and try again")
    if (bytes > Int.MAX_VALUE) fail()
    return try {
        ByteBuffer.allocateDirect(bytes.toInt()).order(ByteOrder.LITTLE_ENDIAN)
    } catch (_: OutOfMemoryError) {
        fail()
    }
}

/** The whole buffer from its beginning, whatever its position. */
internal fun ByteBuffer.whole(): ByteBuffer = duplicate().order(ByteOrder.LITTLE_ENDIAN).also { it.clear() }

internal fun copyOf(buffer: ByteBuffer): ByteBuffer = directBuffer(buffer.capacity().toLong()).also { copy(buffer, it) }

/** Copies all bytes; both have the same size. */
internal fun copy(
    from: ByteBuffer,
    to: ByteBuffer,
) {
    from.clear()
    to.clear()
    to.put(from)
    from.clear()
    to.clear()
}

/** Fills a float32 or int64 buffer with a number; false when it does not fit an int64. */
internal fun fillNumber(
    buffer: ByteBuffer,
    dtype: DType,
    value: Double,
): Boolean {
    buffer.clear()
    if (dtype == DType.FLOAT32) {
        while (buffer.hasRemaining()) buffer.putFloat(value.toFloat())
    } else {
        if (!(abs(value) < TWO_TO_63)) return false
        val whole = roundAwayFromZero(value)
        while (buffer.hasRemaining()) buffer.putLong(whole)
    }
    buffer.clear()
    return true
}

private const val TWO_TO_63 = 9223372036854775808.0

/** To the nearest integer, halves away from zero, as C's `llround`. */
private fun roundAwayFromZero(value: Double): Long {
    val towardZero = truncate(value)
    return (if (abs(value - towardZero) >= 0.5) towardZero + sign(value) else towardZero).toLong()
}

/** Converts all elements between equal types, or float32 and float16. */
internal fun convert(
    from: ByteBuffer,
    fromType: DType,
    to: ByteBuffer,
    toType: DType,
) {
    if (fromType == toType) return copy(from, to)
    from.clear()
    to.clear()
    if (fromType == DType.FLOAT32 && toType == DType.FLOAT16) {
        while (from.hasRemaining()) to.putShort(toHalf(from.getFloat()))
    } else {
        check(fromType == DType.FLOAT16 && toType == DType.FLOAT32) { "no conversion" }
        while (from.hasRemaining()) to.putFloat(fromHalf(from.getShort()))
    }
    from.clear()
    to.clear()
}
