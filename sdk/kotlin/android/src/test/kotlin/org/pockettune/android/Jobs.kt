package org.pockettune.android

import android.app.job.JobParameters
import kotlinx.coroutines.flow.Flow
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.util.ReflectionHelpers
import java.util.Collections
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/** A job of an app, whose run the test gives. */
class TestJobService : TrainingJobService() {
    override val budget: Duration get() = slice
    override val notification: ProgressNotification? get() = shown

    override suspend fun events(parameters: JobParameters): Flow<RunEvent> = run()

    override fun onEvent(event: RunEvent) {
        seen += event
    }

    override fun onFailure(failure: PocketTuneException) {
        failures += failure
    }

    companion object {
        lateinit var run: suspend () -> Flow<RunEvent>
        var slice: Duration = 60.seconds
        var shown: ProgressNotification? = null
        val seen: MutableList<RunEvent> = Collections.synchronizedList(mutableListOf())
        val failures: MutableList<PocketTuneException> = Collections.synchronizedList(mutableListOf())

        fun reset(events: suspend () -> Flow<RunEvent>) {
            run = events
            slice = 60.seconds
            shown = null
            seen.clear()
            failures.clear()
        }
    }
}

/** One slice of a job, as Android starts and stops it. */
class Slice(
    id: Int = 7,
) {
    val parameters: JobParameters = ReflectionHelpers.newInstance(JobParameters::class.java)
    val service: TestJobService = Robolectric.buildService(TestJobService::class.java).create().get()

    val isFinished: Boolean get() = shadowOf(service).isJobFinished
    val wantsAnother: Boolean get() = shadowOf(service).isRescheduleNeeded

    init {
        ReflectionHelpers.setField(parameters, "jobId", id)
    }

    fun start(): Boolean = service.onStartJob(parameters)

    fun stop(): Boolean = service.onStopJob(parameters)
}

/** Waits until something is so, for at most ten seconds. */
fun await(
    what: String,
    isSo: () -> Boolean,
) {
    val end = System.nanoTime() + 10_000_000_000
    while (!isSo()) {
        check(System.nanoTime() < end) { "not in ten seconds: $what" }
        Thread.sleep(2)
        org.robolectric.shadows.ShadowLooper
            .idleMainLooper()
    }
}
