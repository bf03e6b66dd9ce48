package org.pockettune.demo.model

import java.util.Properties

/** How a recognizer wants to see motion: what its bundle was made from. */
data class MotionFormat(
    /** Names of the classes, by number. */
    val labels: List<String>,
    /** Readings a second. */
    val rate: Double,
    /** Readings from the beginning of one window to that of the next. */
    val stride: Int,
    /** Subtracted from each channel. */
    val mean: List<Float>,
    /** Divides each channel, after that; below zero where the phone's sign is the other one. */
    val deviation: List<Float>,
) {
    init {
        require(mean.size == deviation.size && mean.size % AXES == 0 && deviation.all { it != 0f }) { "three channels a sensor" }
        require(rate > 0 && stride > 0) { "rate and stride are above 0" }
    }

    /** Acceleration, and where there are six channels rotation too. */
    val sensors: Int get() = mean.size / AXES

    companion object {
        /** Numbers of an axis: x, y, z. */
        const val AXES = 3

        /** Reads `labels`, `rate`, `stride`, `mean`, `deviation`; lists are separated by commas. */
        fun read(properties: Properties): MotionFormat {
            fun text(name: String) = requireNotNull(properties.getProperty(name)) { "'$name' is missing" }

            fun list(name: String) = text(name).split(',').map(String::trim)
            return MotionFormat(
                labels = list("labels"),
                rate = text("rate").toDouble(),
                stride = text("stride").toInt(),
                mean = list("mean").map(String::toFloat),
                deviation = list("deviation").map(String::toFloat),
            )
        }
    }
}

/**
 * Cuts what motion sensors say into windows of `[channels, length]`. Phones deliver readings of each sensor at moments of
 * their own; a window has them at even distances, interpolated.
 */
class MotionWindows(
    private val format: MotionFormat,
    private val length: Int,
    private val onWindow: (FloatArray) -> Unit,
) {
    private val period = NANOSECONDS / format.rate
    private val sensors = List(format.sensors) { Track() }
    private var start: Long? = null

    /** A reading: which sensor, when (nanoseconds), and its three numbers. */
    fun add(
        sensor: Int,
        time: Long,
        values: FloatArray,
    ) {
        val track = sensors[sensor]
        if (start == null) {
            track.last = Reading(time, values.copyOf(MotionFormat.AXES))
            // The grid begins where every sensor has spoken.
            if (sensors.all { it.last != null }) start = sensors.maxOf { checkNotNull(it.last).time }
            return
        }
        track.add(time, values)
        while (sensors.all { it.rows.size >= length }) emit()
    }

    private fun emit() {
        val window = FloatArray(format.mean.size * length)
        for (channel in format.mean.indices) {
            val rows = sensors[channel / MotionFormat.AXES].rows
            for (index in 0 until length) {
                val value = rows[index][channel % MotionFormat.AXES]
                window[channel * length + index] = (value - format.mean[channel]) / format.deviation[channel]
            }
        }
        sensors.forEach { track -> repeat(minOf(format.stride, length)) { track.rows.removeFirst() } }
        onWindow(window)
    }

    private class Reading(
        val time: Long,
        val values: FloatArray,
    )

    private inner class Track {
        val rows = ArrayDeque<FloatArray>()
        var last: Reading? = null
        private var next = 0L

        fun add(
            time: Long,
            values: FloatArray,
        ) {
            val before = checkNotNull(last)
            if (time <= before.time) return // the clock of a sensor that was restarted
            val begin = checkNotNull(start)
            while (true) {
                val moment = begin + next * period
                if (moment > time) break
                val share = ((moment - before.time) / (time - before.time)).toFloat()
                rows += FloatArray(MotionFormat.AXES) { before.values[it] + (values[it] - before.values[it]) * share }
                next += 1
            }
            last = Reading(time, values.copyOf(MotionFormat.AXES))
        }
    }

    private companion object {
        const val NANOSECONDS = 1e9
    }
}
