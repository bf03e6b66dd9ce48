package org.pockettune.android

import android.app.job.JobInfo
import android.app.job.JobScheduler
import android.content.ComponentName
import android.content.Context
import org.pockettune.Conditions
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException

/**
 * Asks Android to run a [TrainingJobService] when the phone is in the state that [Conditions] ask for.
 *
 * Android knows some of the conditions only: charging, idle, an unmetered network, "storage not low" and "battery not
 * low". It starts the job when those hold; the run itself checks every condition again, exactly, before each step.
 *
 * @property id the job's number, one of the app's own; at most one job with it is waiting or running.
 * @property service the service that trains.
 * @property start what has to hold to start.
 * @property persisted whether the job outlives a restart of the phone; needs `android.permission.RECEIVE_BOOT_COMPLETED`.
 */
public class TrainingJob
    @JvmOverloads
    constructor(
        public val id: Int,
        public val service: Class<out TrainingJobService>,
        public val start: Conditions = Conditions.START,
        public val persisted: Boolean = false,
    ) {
        /**
         * Puts the job in Android's queue. A job of the same [id] that waits there is replaced; one that runs is left alone.
         *
         * @throws PocketTuneException `config_invalid` when Android refuses the job: the service is not in the app's manifest
         *   with `android.permission.BIND_JOB_SERVICE`, a permission is missing, or the app has too many jobs.
         */
        public fun schedule(context: Context) {
            if (TrainingJobService.isRunning(id)) return
            val result =
                try {
                    scheduler(context).schedule(info(context))
                } catch (refusal: RuntimeException) {
                    // IllegalArgumentException or SecurityException, by version.
                    refused("${refusal.message}", refusal)
                }
            if (result != JobScheduler.RESULT_SUCCESS) refused("it has too many jobs, or asks too often", null)
        }

        /** Takes the job out of Android's queue; one that runs is paused within one step. */
        public fun cancel(context: Context): Unit = scheduler(context).cancel(id)

        /** Whether the job waits or runs. */
        public fun isScheduled(context: Context): Boolean = scheduler(context).getPendingJob(id) != null

        private fun info(context: Context): JobInfo =
            JobInfo
                .Builder(id, ComponentName(context, service))
                .setRequiresCharging(start.charging)
                .setRequiresDeviceIdle(start.idle)
                .setRequiresBatteryNotLow(start.minimumBatteryPercent > 0)
                .setRequiresStorageNotLow(true)
                .setPersisted(persisted)
                .apply {
                    // A network of no kind is asked for otherwise: naming NONE would still ask for the permission.
                    if (start.unmetered) setRequiredNetworkType(JobInfo.NETWORK_TYPE_UNMETERED)
                    // Android refuses a back-off for jobs that wait for idleness: those wait for the next time that it is idle.
                    if (!start.idle) setBackoffCriteria(FIRST_WAIT_MILLIS, JobInfo.BACKOFF_POLICY_LINEAR)
                }.build()

        private fun scheduler(context: Context): JobScheduler = checkNotNull(context.getSystemService(JobScheduler::class.java))

        private fun refused(
            why: String,
            cause: Throwable?,
        ): Nothing =
            throw PocketTuneException(
                ErrorCode.CONFIG_INVALID,
                "Android refuses job $id: $why; look at the service and the permissions in the app's manifest",
                cause,
            )

        private companion object {
            const val FIRST_WAIT_MILLIS = 60_000L
        }
    }
