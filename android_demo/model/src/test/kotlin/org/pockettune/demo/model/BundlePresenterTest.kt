package org.pockettune.demo.model

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOf
import kotlinx.coroutines.test.runCurrent
import kotlinx.coroutines.test.runTest
import org.pockettune.Condition
import org.pockettune.DownloadEvent
import org.pockettune.ErrorCode
import org.pockettune.Failing
import org.pockettune.PocketTuneException
import org.pockettune.Reason
import kotlin.test.Test
import kotlin.test.assertEquals

@OptIn(ExperimentalCoroutinesApi::class)
class BundlePresenterTest {
    private class Source(
        private val kept: String? = null,
        private val events: Flow<DownloadEvent> = flowOf(),
    ) : BundleSource<String> {
        var downloads = 0

        override suspend fun kept() = kept

        override suspend fun fromApp() = throw PocketTuneException(ErrorCode.BUNDLE_NOT_FOUND, "the app has no such bundle")

        override fun download(address: String): Flow<DownloadEvent> = events.also { downloads += 1 }

        override suspend fun take(event: DownloadEvent.Finished): String = error("no bundle is here")
    }

    @Test
    fun `a bundle that was taken before is there again`() =
        runTest {
            val page = BundlePresenter(this, Source(kept = "watch"))
            runCurrent()
            assertEquals(BundleState.Here("watch"), page.state.value)
            assertEquals("WATCH", describe(page.state.value, "none") { "$it".uppercase() })
        }

    @Test
    fun `a download shows how far it is, runs once, and says what stopped it`() =
        runTest {
            val goOn = CompletableDeferred<Unit>()
            val events =
                flow {
                    emit(DownloadEvent.Progress(5_000_000, 20_000_000))
                    goOn.await()
                    emit(DownloadEvent.Stopped(listOf(Failing(Condition.UNMETERED, Reason.UNMET))))
                }
            val source = Source(events = events)
            val page = BundlePresenter(this, source)
            runCurrent()
            page.download("x")
            runCurrent()
            page.download("x")
            assertEquals("5.0 MB of 20 MB", describe(page.state.value, "none") { "" })
            goOn.complete(Unit)
            runCurrent()
            assertEquals("Waiting: unmetered network", describe(page.state.value, "none") { "" })
            assertEquals(1, source.downloads)
        }

    @Test
    fun `a bundle that the app lacks is told`() =
        runTest {
            val page = BundlePresenter(this, Source())
            runCurrent()
            assertEquals("none", describe(page.state.value, "none") { "" })
            page.takeFromApp()
            runCurrent()
            assertEquals("bundle_not_found: the app has no such bundle", describe(page.state.value, "none") { "" })
        }
}
