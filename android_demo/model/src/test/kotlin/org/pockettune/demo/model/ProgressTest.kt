package org.pockettune.demo.model

import org.pockettune.RunEvent
import org.pockettune.RunResult
import kotlin.test.Test
import kotlin.test.assertEquals

class ProgressTest {
    private fun step(
        number: Int,
        loss: Float,
        seconds: Double,
    ) = RunEvent.Stepped(number, 200, loss, seconds)

    @Test
    fun `the time that is left follows from the steps that were seen`() {
        val resumed = Progress().after(RunEvent.Resumed(100))
        // Two steps of 1.5 s and 2.5 s: 98 more take 196 s.
        val progress = resumed.after(step(101, 0.5f, 1.5)).after(step(102, 0.4f, 2.5))
        assertEquals(Phase.Training(102, 200, 196.0), progress.phase)
        assertEquals("Step 102 of 200, 3 min left", describe(progress.phase))
        assertEquals(listOf(0.5f, 0.4f), progress.losses)
    }

    @Test
    fun `a result that got worse is said to be not kept`() {
        val result = RunResult(false, 2, 0.5, 0.6, listOf(0.5f, 0.6f), 0.5, 0.6, 1.0, 1.0, null)
        assertEquals(
            "Not kept: it got worse. Loss 0.5000 before, 0.6000 after",
            describe(Progress().after(RunEvent.Finished(result)).phase),
        )
    }

    @Test
    fun `a pause says how much is saved`() {
        assertEquals("Paused. 25 steps are saved", describe(Progress().after(RunEvent.Stopped(25, emptyList())).phase))
    }

    @Test
    fun `the chart spans its box and averages neighbors`() {
        assertEquals(
            listOf(ChartPoint(0.5f / 7, 1f), ChartPoint(2.5f / 7, 0f)),
            lossLine(listOf(4f, 2f, 1f, 1f), steps = 8, most = 2),
        )
        assertEquals(emptyList(), lossLine(emptyList(), steps = 8))
        assertEquals(listOf(0.5f, 0.5f), lossLine(listOf(3f, Float.NaN, 3f), steps = 3).map { it.y })
    }
}
