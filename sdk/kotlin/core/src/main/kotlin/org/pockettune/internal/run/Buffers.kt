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
    if (bytes !in 0..Int.MAX_VALUE) fail()
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

/**
 * A value and the form in which a cache stores it: of equal types, or float32 and float16. Works piece by piece in arrays,
 * whose elements are much quicker to reach than a buffer's, and makes nothing new after its construction.
 */
internal class Conversion(
    private val value: ByteBuffer,
    valueType: DType,
    private val stored: ByteBuffer,
    storedType: DType,
) {
    private val same = valueType == storedType
    private val floats = value.whole().asFloatBuffer()
    private val halves = stored.whole().asShortBuffer()
    private val floatPiece = FloatArray(if (same) 0 else minOf(PIECE, floats.capacity()))
    private val halfPiece = ShortArray(floatPiece.size)

    init {
        check(same || (valueType == DType.FLOAT32 && storedType == DType.FLOAT16)) { "no conversion" }
    }

    fun toStored() {
        if (same) return copy(value, stored)
        pieces { count ->
            floats.get(floatPiece, 0, count)
            for (at in 0 until count) halfPiece[at] = toHalf(floatPiece[at])
            halves.put(halfPiece, 0, count)
        }
    }

    fun toValue() {
        if (same) return copy(stored, value)
        pieces { count ->
            halves.get(halfPiece, 0, count)
            for (at in 0 until count) floatPiece[at] = fromHalf(halfPiece[at])
            floats.put(floatPiece, 0, count)
        }
    }

    private inline fun pieces(convert: (Int) -> Unit) {
        floats.clear()
        halves.clear()
        while (floats.hasRemaining()) convert(minOf(floatPiece.size, floats.remaining()))
    }

    private companion object {
        const val PIECE = 1024
    }
}
