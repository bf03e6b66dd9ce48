package org.pockettune.internal

/** IEEE 754 binary16 of a float, rounded to nearest, ties to even. */
internal fun toHalf(value: Float): Short {
    val bits = value.toRawBits()
    val sign = bits ushr 16 and 0x8000
    val magnitude = bits and 0x7fff_ffff
    if (magnitude > 0x7f80_0000) return (sign or 0x7e00).toShort() // NaN
    if (magnitude >= 0x4780_0000) return (sign or 0x7c00).toShort() // 65536 and up: infinity
    if (magnitude < 0x3300_0000) return sign.toShort() // below half the least subnormal
    val exponent = (magnitude ushr 23) - 127
    val mantissa = magnitude and 0x7f_ffff or 0x80_0000
    // Bits that fall away: 13 for a normal half, more for a subnormal one.
    val drop = if (exponent >= -14) 13 else -1 - exponent
    val kept = mantissa ushr drop
    val rest = mantissa and (1 shl drop) - 1
    val tie = 1 shl drop - 1
    val rounded = kept + if (rest > tie || (rest == tie && kept and 1 == 1)) 1 else 0
    // A carry out of the mantissa raises the exponent, up to infinity, as it should.
    val base = if (exponent >= -14) exponent + 14 shl 10 else 0
    return (sign or base + rounded).toShort()
}

/** The float that an IEEE 754 binary16 stands for. */
internal fun fromHalf(half: Short): Float {
    val sign = half.toInt() and 0x8000 shl 16
    val exponent = half.toInt() ushr 10 and 0x1f
    val mantissa = half.toInt() and 0x3ff
    if (exponent == 0x1f) return Float.fromBits(sign or 0x7f80_0000 or (mantissa shl 13))
    if (exponent != 0) return Float.fromBits(sign or (exponent + 112 shl 23) or (mantissa shl 13))
    val value = mantissa * (1f / (1 shl 24))
    return if (sign != 0) -value else value
}
