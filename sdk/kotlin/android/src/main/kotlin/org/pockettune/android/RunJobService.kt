package org.pockettune.android

import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobService
import android.content.ComponentName
import android.content.Context
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.launch
import org.pockettune.Conditions
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent

/**
 * A job in which a run works while the phone lies on its charger. An app extends it, says what runs, and names its class in
 * its own manifest with the permission `android.permission.BIND_JOB_SERVICE`.
 *
 * The job ends when the run does. A run that a condition stopped is put off, and goes on where it stopped; the system may
 * end the job at any time, which cancels the run within one step, its state saved.
 */
public abstract class RunJobService : JobService() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val running = HashMap<Int, Job>()

    /** What runs: the stream of a trainer or personalizer. */
    protected abstract fun run(parameters: JobParameters): Flow<RunEvent>

    /** Called with each event, on a thread of its own: to show progress. */
    protected open fun onEvent(event: RunEvent) {}

    /** Called when the run fails; it is not tried again by itself. */
    protected open fun onFailure(failure: PocketTuneException) {}

    final override fun onStartJob(parameters: JobParameters): Boolean {
        synchronized(running) { running[parameters.jobId] = scope.launch { work(parameters) } }
        return true
    }

    private suspend fun work(parameters: JobParameters) {
        var last: RunEvent? = null
        try {
            run(parameters).collect {
                last = it
                onEvent(it)
            }
        } catch (failure: PocketTuneException) {
            onFailure(failure)
        } catch (cancellation: CancellationException) {
            // The system ended the job and asks no more.
            throw cancellation
        }
        synchronized(running) { running.remove(parameters.jobId) }
        jobFinished(parameters, (last as? RunEvent.Stopped)?.failing?.isNotEmpty() == true)
    }

    final override fun onStopJob(parameters: JobParameters): Boolean {
        synchronized(running) { running.remove(parameters.jobId) }?.cancel()
        return true
    }

    final override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    /** Scheduling. */
    public companion object {
        /**
         * The system's own conditions for such a job, as far as it knows them; the others are the run's to check.
         *
         * @param context any context of the app.
         * @param id the job's number in the app.
         * @param service the app's class.
         * @param conditions what the run asks for to start.
         */
        @JvmStatic
        public fun jobInfo(
            context: Context,
            id: Int,
            service: Class<out RunJobService>,
            conditions: Conditions = Conditions.START,
        ): JobInfo =
            JobInfo
                .Builder(id, ComponentName(context, service))
                .setRequiresCharging(conditions.charging)
                .setRequiresDeviceIdle(conditions.idle)
                .setRequiresBatteryNotLow(conditions.minimumBatteryPercent > 0)
                .setRequiresStorageNotLow(true)
                .setRequiredNetworkType(if (conditions.unmetered) JobInfo.NETWORK_TYPE_UNMETERED else JobInfo.NETWORK_TYPE_NONE)
                .build()
    }
}
