package org.pockettune.internal

import java.math.BigDecimal
import java.math.MathContext
import java.math.RoundingMode

private const val MOST_DIGITS = 17
private val roundings = listOf(RoundingMode.HALF_EVEN, RoundingMode.DOWN, RoundingMode.UP)

/**
 * A finite double as C++ `std::to_chars` writes it: the shortest text that reads back, plain or scientific, whichever is
 * shorter, plain when they are equal. (Java's own is not always the shortest before 19, and differs on Android.)
 */
internal fun format(value: Double): String =
    if (value == 0.0) zero(1.0 / value < 0) else format(BigDecimal(value)) { it.toDouble() == value }

/** A finite float likewise, in its own shortest form. */
internal fun format(value: Float): String =
    if (value == 0f) zero(1f / value < 0) else format(BigDecimal(value.toDouble())) { it.toFloat() == value }

private fun zero(negative: Boolean) = if (negative) "-0" else "0"

private fun format(
    exact: BigDecimal,
    readsBack: (String) -> Boolean,
): String {
    val shortest = shortest(exact, readsBack).stripTrailingZeros()
    val digits = shortest.unscaledValue().abs().toString()
    val exponent = -shortest.scale()
    val sign = if (exact.signum() < 0) "-" else ""
    // Both bounds say that the plain text is no longer than the scientific one.
    val lowest = if (digits.length == 1) -3 else -(digits.length + 3)
    val highest = if (digits.length == 1) 4 else 5
    return sign +
        when {
            exponent !in lowest..highest -> scientific(digits, exponent + digits.length - 1)
            // A whole number in plain notation is written with all of its digits.
            exponent >= 0 -> exact.abs().toBigInteger().toString()
            -exponent < digits.length -> digits.dropLast(-exponent) + "." + digits.takeLast(-exponent)
            else -> "0." + "0".repeat(-exponent - digits.length) + digits
        }
}

private fun scientific(
    digits: String,
    exponent: Int,
): String {
    val point = if (digits.length > 1) "." + digits.drop(1) else ""
    val sign = if (exponent < 0) '-' else '+'
    val magnitude = Math.abs(exponent).toString().padStart(2, '0')
    return "${digits[0]}${point}e$sign$magnitude"
}

/** The decimal of fewest digits that reads back; of several, the one closest to the exact value, or the even one. */
private fun shortest(
    exact: BigDecimal,
    readsBack: (String) -> Boolean,
): BigDecimal {
    for (digits in 1 until MOST_DIGITS) {
        // Below a power of two, doubles lie closer: there the farther neighbor may read back, and the nearest not.
        roundings
            .map { exact.round(MathContext(digits, it)) }
            .find { readsBack(it.toString()) }
            ?.let { return it }
    }
    return exact.round(MathContext(MOST_DIGITS, RoundingMode.HALF_EVEN))
}
