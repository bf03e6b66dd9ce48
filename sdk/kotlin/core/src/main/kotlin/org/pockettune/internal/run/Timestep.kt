package org.pockettune.internal.run

import org.pockettune.Spacing

/** One step of a sampler; [previous] may be negative. */
internal class Timestep(
    val now: Long,
    val previous: Long,
)

/** The timesteps of [steps] steps, 1 to [trainTimesteps] (`spec/bundle.md` 5). */
internal fun samplerTimesteps(
    spacing: Spacing,
    trainTimesteps: Int,
    steps: Int,
    stepsOffset: Long,
): List<Timestep> {
    val stride = (trainTimesteps / steps).toLong()
    return List(steps) { index ->
        val now =
            when (spacing) {
                Spacing.TRAILING -> divideHalfEven(trainTimesteps.toLong() * (steps - index), steps.toLong()) - 1
                Spacing.LEADING -> (steps - 1 - index) * stride + stepsOffset
            }
        Timestep(now, now - stride)
    }
}

/** numerator / denominator to the nearest integer, ties to even; both positive. */
private fun divideHalfEven(
    numerator: Long,
    denominator: Long,
): Long {
    val quotient = numerator / denominator
    val twiceRest = 2 * (numerator % denominator)
    val up = twiceRest > denominator || (twiceRest == denominator && quotient % 2 == 1L)
    return if (up) quotient + 1 else quotient
}
