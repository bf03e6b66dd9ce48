package org.pockettune.internal

import org.pockettune.DType
import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.sqrt

/**
 * Where random numbers come from (`spec/random.md`): every value is a function of seed, stream, index and element.
 *
 * @property seed the run's, an unsigned 64-bit integer.
 * @property stream 0 to 2^32 - 1.
 * @property index what the draws are counted by, an unsigned 64-bit integer.
 */
internal class RandomKey(
    val seed: Long,
    val stream: Long,
    val index: Long,
) {
    /**
     * Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): writes the four words of a
     * block into [words].
     */
    fun block(
        block: Int,
        words: IntArray,
    ) {
        var x0 = block
        var x1 = index.toInt()
        var x2 = (index ushr 32).toInt()
        var x3 = stream.toInt()
        var k0 = seed.toInt()
        var k1 = (seed ushr 32).toInt()
        repeat(ROUNDS) {
            val product0 = unsigned(x0) * MULTIPLIER_0
            val product1 = unsigned(x2) * MULTIPLIER_1
            x0 = (product1 ushr 32).toInt() xor x1 xor k0
            x1 = product1.toInt()
            x2 = (product0 ushr 32).toInt() xor x3 xor k1
            x3 = product0.toInt()
            k0 += KEY_STEP_0
            k1 += KEY_STEP_1
        }
        words[0] = x0
        words[1] = x1
        words[2] = x2
        words[3] = x3
    }

    /** Calls [use] with each of [count] words, as an unsigned number, in the order of the elements. */
    inline fun words(
        count: Int,
        use: (Long) -> Unit,
    ) {
        val block = IntArray(BLOCK)
        for (element in 0 until count) {
            val word = element and BLOCK - 1
            if (word == 0) block(element / BLOCK, block)
            use(unsigned(block[word]))
        }
    }
}

private const val ROUNDS = 10
private const val BLOCK = 4
private const val MULTIPLIER_0 = 0xD2511F53L
private const val MULTIPLIER_1 = 0xCD9E8D57L
private const val KEY_STEP_0 = 0x9E3779B9.toInt()
private const val KEY_STEP_1 = 0xBB67AE85.toInt()
private const val TWO_TO_MINUS_32 = 1.0 / 4294967296.0

private fun unsigned(word: Int): Long = word.toLong() and 0xffff_ffffL

/** Fills [into] from its position to its limit with float32 uniform numbers between 0 and 1. */
internal fun fillUniform(
    key: RandomKey,
    into: ByteBuffer,
) = key.words(into.remaining() / DType.FLOAT32.bytes) { into.putFloat(unit(it).toFloat()) }

/** Fills [into] from its position to its limit with float32 standard normal numbers. */
internal fun fillNormal(
    key: RandomKey,
    into: ByteBuffer,
) = key.words(into.remaining() / DType.FLOAT32.bytes) { into.putFloat(inverseNormal(unit(it)).toFloat()) }

/** Fills [into] from its position to its limit with int64 numbers from [low] to below [high], 2^32 apart at most. */
internal fun fillInteger(
    key: RandomKey,
    low: Long,
    high: Long,
    into: ByteBuffer,
) {
    val range = high - low
    // The product needs all 64 bits, unsigned, when the range is 2^32.
    key.words(into.remaining() / DType.INT64.bytes) { into.putLong(low + (it * range ushr 32)) }
}

/** 0 to [length] - 1 in random order: sorted by their words, equal words by number. */
internal fun permutation(
    key: RandomKey,
    length: Int,
): IntArray {
    val keyed = LongArray(length)
    var number = 0
    // The word above, the number below, and the sign turned, so that the order of signed longs is the one wanted.
    key.words(length) { word ->
        keyed[number] = (word shl 32 or number.toLong()) xor Long.MIN_VALUE
        number++
    }
    keyed.sort()
    return IntArray(length) { keyed[it].toInt() }
}

/** Exact: a 33-bit odd integer times a power of two. */
private fun unit(word: Long): Double = (word + 0.5) * TWO_TO_MINUS_32

// Coefficients of Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37
// (1988), PPND16, lowest power first. Its third case cannot occur: a word has 32 bits.
private val centralNumerator =
    doubleArrayOf(
        3.3871328727963666080e0,
        1.3314166789178437745e2,
        1.9715909503065514427e3,
        1.3731693765509461125e4,
        4.5921953931549871457e4,
        6.7265770927008700853e4,
        3.3430575583588128105e4,
        2.5090809287301226727e3,
    )
private val centralDenominator =
    doubleArrayOf(
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    )
private val tailNumerator =
    doubleArrayOf(
        1.42343711074968357734e0,
        4.63033784615654529590e0,
        5.76949722146069140550e0,
        3.64784832476320460504e0,
        1.27045825245236838258e0,
        2.41780725177450611770e-1,
        2.27238449892691845833e-2,
        7.74545014278341407640e-4,
    )
private val tailDenominator =
    doubleArrayOf(
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    )
private const val CENTRAL_HALF_WIDTH = 0.425
private const val CENTRAL_CONSTANT = 0.180625
private const val TAIL_SHIFT = 1.6

private fun inverseNormal(unit: Double): Double {
    val q = unit - 0.5
    if (abs(q) <= CENTRAL_HALF_WIDTH) {
        val r = CENTRAL_CONSTANT - q * q
        return q * horner(centralNumerator, r) / horner(centralDenominator, r)
    }
    val r = sqrt(-seriesLog(if (q < 0) unit else 1.0 - unit)) - TAIL_SHIFT
    val value = horner(tailNumerator, r) / horner(tailDenominator, r)
    return if (q < 0) -value else value
}

/** The natural logarithm of 0 < [r] < 1 by the series that the specification fixes: libraries round theirs differently. */
private fun seriesLog(r: Double): Double {
    // r = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)).
    var exponent = Math.getExponent(r) + 1
    var mantissa = Math.scalb(r, -exponent)
    if (mantissa < 0.70710678118654752440) {
        mantissa *= 2.0
        exponent--
    }
    val s = (mantissa - 1.0) / (mantissa + 1.0)
    val z = s * s
    var sum = 1.0 / 21.0
    for (n in 19 downTo 3 step 2) sum = 1.0 / n + z * sum
    sum = 1.0 + z * sum
    return exponent * 0.69314718055994530942 + 2.0 * s * sum
}

/** Written out, since it is most of the time that random numbers take. */
private fun horner(
    c: DoubleArray,
    r: Double,
): Double = ((((((c[7] * r + c[6]) * r + c[5]) * r + c[4]) * r + c[3]) * r + c[2]) * r + c[1]) * r + c[0]
