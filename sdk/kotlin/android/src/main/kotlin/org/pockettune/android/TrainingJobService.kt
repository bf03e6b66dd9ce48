package org.pockettune.android

import android.app.job.JobParameters
import android.app.job.JobService
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeoutOrNull
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import java.util.concurrent.ConcurrentHashMap
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes

/**
 * Trains while Android lets it. An app extends this class, says what to run, puts it in its manifest with
 * `android:permission="android.permission.BIND_JOB_SERVICE"`, and asks for it with a [TrainingJob].
 *
 * Work comes in slices: after [budget], and whenever Android takes the job back, the run is paused within one step with its
 * state written, and Android is asked for another slice, in which it goes on. The job is over when the run has finished,
 * was paused by the app, or failed.
 */
public abstract class TrainingJobService : JobService() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    /** How long one slice may take. Android ends jobs after about ten minutes; a pause of our own choice comes first. */
    protected open val budget: Duration get() = 9.minutes

    /** What shows the user that the phone works; null: nothing is shown. */
    protected open val notification: ProgressNotification? get() = null

    /**
     * The run: `trainer.train(...)` or `personalizer.personalize(...)`. Called once a slice, off the main thread, so that it
     * may read bundles and photos.
     */
    protected abstract suspend fun events(parameters: JobParameters): Flow<RunEvent>

    /** Called with each event of the run, off the main thread. */
    protected open fun onEvent(event: RunEvent) {}

    /** Called off the main thread when the run failed; it is not tried again until it is scheduled again. */
    protected abstract fun onFailure(failure: PocketTuneException)

    /** Android lends time: a slice begins. */
    final override fun onStartJob(parameters: JobParameters): Boolean {
        var before: Job? = null
        val slice =
            scope.launch(start = CoroutineStart.LAZY) {
                // The slice before may still be in its last step, with the run's lock in its hand.
                before?.join()
                notification?.attach(this@TrainingJobService, parameters)
                // Out of time is one more reason to ask for another slice.
                val again = withTimeoutOrNull(budget) { run(parameters) } ?: true
                jobFinished(parameters, again)
            }
        before = slices.put(parameters.jobId, slice)
        slice.invokeOnCompletion { slices.remove(parameters.jobId, slice) }
        slice.start()
        return true
    }

    /** Android takes the time back: the slice ends within one step, and another is asked for. */
    final override fun onStopJob(parameters: JobParameters): Boolean {
        slices[parameters.jobId]?.cancel()
        return true
    }

    /** Android is done with this service. */
    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    /** Whether the run wants another slice. */
    private suspend fun run(parameters: JobParameters): Boolean {
        var again = false
        try {
            events(parameters).collect { event ->
                onEvent(event)
                notification?.update(event)
                again = event is RunEvent.Stopped && event.failing.isNotEmpty()
            }
        } catch (failure: PocketTuneException) {
            onFailure(failure)
        }
        return again
    }

    internal companion object {
        // By job id, which is unique in an app. Android makes a new service for each slice.
        private val slices = ConcurrentHashMap<Int, Job>()

        fun isRunning(id: Int): Boolean = slices[id]?.isActive == true
    }
}
