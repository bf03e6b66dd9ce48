package org.pockettune.demo.model

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.test.TestScope
import kotlinx.coroutines.test.runCurrent
import kotlinx.coroutines.test.runTest
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.RunResult
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertTrue

@OptIn(ExperimentalCoroutinesApi::class)
class PersonalizePresenterTest {
    /** A run of two steps, the second of which waits until the test lets it go on. */
    private class Work(
        private val accepted: Boolean = true,
    ) : Personalization<String> {
        val second = CompletableDeferred<Unit>()
        val runs = mutableListOf<Pair<List<String>, String>>()
        var paused = false
        var forgotten = false
        var failure: PocketTuneException? = null

        override fun personalize(
            photos: List<String>,
            prompt: String,
        ): Flow<RunEvent> =
            flow {
                runs += photos to prompt
                emit(RunEvent.Prepared("prepare", 1, 1))
                emit(RunEvent.Stepped(1, 2, 0.5f, 1.0))
                second.await()
                failure?.let { throw it }
                if (paused) {
                    emit(RunEvent.Stopped(1, emptyList()))
                } else {
                    emit(RunEvent.Stepped(2, 2, 0.4f, 1.0))
                    emit(RunEvent.Finished(RunResult(accepted, 2, 0.5, 0.4, listOf(0.5f, 0.4f), 0.5, 0.4, 1.0, 1.0, null)))
                }
            }

        override fun pause() {
            paused = true
            second.complete(Unit)
        }

        override suspend fun draw(
            prompt: String,
            learned: Boolean,
        ) = "$prompt $learned"

        override suspend fun forget() {
            forgotten = true
        }
    }

    private fun TestScope.page(work: Work) =
        PersonalizePresenter(this, work).apply {
            addPhotos(listOf("a", "b"))
            addPhotos(listOf("b"))
            setPrompt("a cup")
        }

    @Test
    fun `photos become pictures before and after`() =
        runTest {
            val work = Work()
            val page = page(work)
            page.start()
            runCurrent()
            assertIs<Phase.Training>(page.state.value.progress.phase)
            assertTrue(page.state.value.canPause)
            work.second.complete(Unit)
            runCurrent()
            val end = page.state.value
            assertEquals(Phase.Done(true, 0.5, 0.4), end.progress.phase)
            assertEquals("a cup false" to "a cup true", end.before to end.after)
            assertEquals(listOf(listOf("a", "b") to "a cup"), work.runs)
        }

    @Test
    fun `what got worse has no picture after`() =
        runTest {
            val work = Work(accepted = false)
            val page = page(work)
            page.start()
            work.second.complete(Unit)
            runCurrent()
            assertEquals("a cup false", page.state.value.before)
            assertNull(page.state.value.after)
        }

    @Test
    fun `a paused run goes on with the same photos`() =
        runTest {
            val work = Work()
            val page = page(work)
            page.start()
            runCurrent()
            page.pause()
            runCurrent()
            assertEquals(Phase.Paused(1, emptyList()), page.state.value.progress.phase)
            work.paused = false
            page.start()
            runCurrent()
            assertIs<Phase.Done>(page.state.value.progress.phase)
            assertEquals(2, work.runs.size)
            assertEquals(work.runs[0], work.runs[1])
        }

    @Test
    fun `while it works nothing of the run can be changed, nor begun twice`() =
        runTest {
            val work = Work()
            val page = page(work)
            page.start()
            runCurrent()
            page.start()
            page.addPhotos(listOf("c"))
            page.removePhoto("a")
            page.setPrompt("a dog")
            page.forget()
            runCurrent()
            assertEquals(listOf("a", "b") to "a cup", page.state.value.run { photos to prompt })
            assertFalse(work.forgotten)
            work.second.complete(Unit)
            runCurrent()
            assertEquals(1, work.runs.size)
        }

    @Test
    fun `a failure is shown, and starting again is possible`() =
        runTest {
            val work = Work().apply { failure = PocketTuneException(ErrorCode.DISK_FULL, "the disk is full: free some room") }
            val page = page(work)
            page.start()
            work.second.complete(Unit)
            runCurrent()
            assertEquals("disk_full: the disk is full: free some room", describe(page.state.value.progress.phase))
            assertTrue(page.state.value.canStart)
        }

    @Test
    fun `without a photo or a prompt it can't start`() =
        runTest {
            val page = PersonalizePresenter(this, Work())
            page.setPrompt("a cup")
            assertFalse(page.state.value.canStart)
            page.addPhotos(listOf("a"))
            assertTrue(page.state.value.canStart)
            page.setPrompt(" ")
            assertFalse(page.state.value.canStart)
        }

    @Test
    fun `forgetting forgets the page too`() =
        runTest {
            val work = Work()
            val page = page(work)
            page.forget()
            runCurrent()
            assertTrue(work.forgotten)
            assertEquals(PersonalizeState(), page.state.value)
        }
}
