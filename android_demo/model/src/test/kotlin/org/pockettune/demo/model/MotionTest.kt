package org.pockettune.demo.model

import java.util.Properties
import kotlin.random.Random
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class MotionTest {
    private val format = MotionFormat(listOf("a", "b"), 50.0, 5, List(6) { it.toFloat() }, List(6) { 2f })

    @Test
    fun `readings at odd moments become even windows`() {
        // Straight lines: interpolation gives exactly them at any moment.
        fun value(
            channel: Int,
            nanoseconds: Double,
        ) = channel + 3.0 * nanoseconds / 1e9

        val windows = mutableListOf<FloatArray>()
        val motion = MotionWindows(format, 10, windows::add)
        val random = Random(7)
        val readings =
            (0..1).flatMap { sensor ->
                var time = 1_000_000_000L + sensor * 7_000_000
                generateSequence { time.also { time += random.nextLong(2_000_000, 27_000_000) } }.take(60).map { sensor to it }.toList()
            }
        for ((sensor, time) in readings.sortedBy { it.second }) {
            motion.add(sensor, time, FloatArray(3) { value(sensor * 3 + it, time.toDouble()).toFloat() })
        }
        assertTrue(windows.size > 3)
        windows.forEachIndexed { number, window ->
            for (channel in 0 until 6) {
                for (index in 0 until 10) {
                    // The grid begins where the second sensor spoke first; 20 ms a reading, 5 readings a stride.
                    val moment = 1_007_000_000.0 + (number * 5 + index) * 20_000_000.0
                    assertEquals((value(channel, moment) - channel) / 2, window[channel * 10 + index].toDouble(), 1e-5)
                }
            }
        }
    }

    @Test
    fun `a sensor that repeats itself or goes back in time changes nothing`() {
        val windows = mutableListOf<FloatArray>()
        val one = MotionFormat(listOf("a"), 50.0, 2, List(3) { 0f }, listOf(1f, 1f, -1f))
        val motion = MotionWindows(one, 2, windows::add)
        motion.add(0, 0, floatArrayOf(1f, 1f, 1f))
        motion.add(0, 20_000_000, floatArrayOf(2f, 2f, 2f))
        motion.add(0, 20_000_000, floatArrayOf(9f, 9f, 9f))
        motion.add(0, 10_000_000, floatArrayOf(9f, 9f, 9f))
        assertEquals(listOf(1f, 2f, 1f, 2f, -1f, -2f), windows.single().toList())
    }

    @Test
    fun `the format is read from a file of properties`() {
        val properties =
            Properties().apply {
                load("labels = left, right\nrate = 50\nstride = 25\nmean = 0, 1, 2\ndeviation = 1, 2, 3\n".reader())
            }
        val read = MotionFormat.read(properties)
        assertEquals(MotionFormat(listOf("left", "right"), 50.0, 25, listOf(0f, 1f, 2f), listOf(1f, 2f, 3f)), read)
        assertEquals(1, read.sensors)
        properties.remove("rate")
        assertEquals("'rate' is missing", assertFailsWith<IllegalArgumentException> { MotionFormat.read(properties) }.message)
    }
}
