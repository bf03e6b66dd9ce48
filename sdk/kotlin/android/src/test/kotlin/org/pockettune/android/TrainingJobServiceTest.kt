package org.pockettune.android

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOf
import org.junit.After
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.Condition
import org.pockettune.ErrorCode
import org.pockettune.Failing
import org.pockettune.PocketTuneException
import org.pockettune.Reason
import org.pockettune.RunEvent
import org.pockettune.RunResult
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.util.concurrent.atomic.AtomicInteger
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34, 35], manifest = Config.NONE)
class TrainingJobServiceTest {
    private val saved = AtomicInteger()
    private val result = RunResult(true, 2, 0.5, 0.4, listOf(0.5f, 0.4f), 0.5, 0.4, 1.0, 0.005, null)

    @After
    fun nothingGoesOn() = await("the run's end") { !TrainingJobService.isRunning(7) }

    @Test
    fun `a run that finishes ends the job`() {
        TestJobService.reset { flowOf(step(1), step(2), RunEvent.Finished(result)) }
        val slice = Slice()
        assertTrue(slice.start())
        await("the job's end") { slice.isFinished }
        assertFalse(slice.wantsAnother)
        assertEquals(listOf(step(1), step(2), RunEvent.Finished(result)), TestJobService.seen)
    }

    @Test
    fun `a condition that fails asks for another slice`() {
        TestJobService.reset { flowOf(step(1), RunEvent.Stopped(1, listOf(Failing(Condition.CHARGING, Reason.UNMET)))) }
        val slice = Slice().apply { start() }
        await("the job's end") { slice.isFinished }
        assertTrue(slice.wantsAnother)
    }

    @Test
    fun `a run that the app paused asks for no other slice`() {
        TestJobService.reset { flowOf(step(1), RunEvent.Stopped(1, emptyList())) }
        val slice = Slice().apply { start() }
        await("the job's end") { slice.isFinished }
        assertFalse(slice.wantsAnother)
    }

    @Test
    fun `Android taking the job back pauses the run within a step`() {
        TestJobService.reset { training() }
        val slice = Slice().apply { start() }
        await("some steps") { TestJobService.seen.size >= 3 }
        assertTrue(slice.stop(), "another slice is wanted")
        val steps = TestJobService.seen.size
        await("the state to be written") { saved.get() > 0 }
        assertTrue(saved.get() <= steps + 1, "stopped at $steps, saved at ${saved.get()}")
        assertTrue(TestJobService.seen.size <= steps + 1)
        assertFalse(slice.isFinished, "Android is not told of the end of a job that it took back")
    }

    @Test
    fun `a slice that is used up pauses the run and asks for another`() {
        TestJobService.reset { training() }
        TestJobService.slice = 500.milliseconds
        val slice = Slice().apply { start() }
        await("the job's end") { slice.isFinished }
        assertTrue(slice.wantsAnother)
        assertTrue(saved.get() > 0)
    }

    @Test
    fun `the next slice waits until the one before has let go`() {
        val letGo = CompletableDeferred<Unit>()
        val inWork = AtomicInteger()
        TestJobService.reset {
            flow {
                assertEquals(1, inWork.incrementAndGet())
                try {
                    emit(step(1))
                    delay(60_000)
                } finally {
                    // A step does not look at cancellation: it takes as long as it takes.
                    kotlinx.coroutines.withContext(kotlinx.coroutines.NonCancellable) { letGo.await() }
                    inWork.decrementAndGet()
                }
            }
        }
        val first = Slice().apply { start() }
        await("a step") { TestJobService.seen.size == 1 }
        first.stop()
        val second = Slice().apply { start() }
        Thread.sleep(50)
        assertEquals(1, TestJobService.seen.size)
        letGo.complete(Unit)
        await("the second slice's step") { TestJobService.seen.size == 2 }
        second.stop()
    }

    @Test
    fun `a failure is told and not tried again`() {
        val failure = PocketTuneException(ErrorCode.DISK_FULL, "the disk is full: free some room")
        TestJobService.reset { flow { throw failure } }
        val slice = Slice().apply { start() }
        await("the job's end") { slice.isFinished }
        assertFalse(slice.wantsAnother)
        assertEquals(listOf(failure), TestJobService.failures)
    }

    /** A run of steps of some milliseconds that writes its state when it is canceled. */
    private fun training(): Flow<RunEvent> =
        flow {
            var steps = 0
            try {
                while (true) {
                    delay(5)
                    steps += 1
                    emit(step(steps))
                }
            } finally {
                saved.set(steps)
            }
        }

    private fun step(number: Int) = RunEvent.Stepped(number, 100, 0.5f, 0.005)
}
