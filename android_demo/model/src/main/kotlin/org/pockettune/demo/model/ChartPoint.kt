package org.pockettune.demo.model

/** A point of a chart, both from 0 (left, bottom) to 1. */
data class ChartPoint(
    val x: Float,
    val y: Float,
)

/**
 * The losses of a run as a line of at most [most] points: each is the mean of as many neighbors as it stands for, because
 * single losses jump. Losses that are not finite are left out.
 */
fun lossLine(
    losses: List<Float>,
    steps: Int,
    most: Int = 100,
): List<ChartPoint> {
    val group = maxOf(1, (losses.size + most - 1) / most)
    val means =
        losses.chunked(group).mapIndexedNotNull { index, some ->
            val finite = some.filter { it.isFinite() }
            if (finite.isEmpty()) null else index * group + (some.size - 1) / 2f to finite.average().toFloat()
        }
    if (means.isEmpty()) return emptyList()
    val low = means.minOf { it.second }
    val range = means.maxOf { it.second } - low
    val last = maxOf(1, steps - 1)
    // A line that does not move lies in the middle.
    return means.map { (step, loss) -> ChartPoint(step / last, if (range > 0) (loss - low) / range else 0.5f) }
}
