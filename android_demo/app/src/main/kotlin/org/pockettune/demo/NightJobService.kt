package org.pockettune.demo

import android.app.job.JobParameters
import android.util.Log
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.emptyFlow
import org.pockettune.Conditions
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.android.ProgressNotification
import org.pockettune.android.TrainingJob
import org.pockettune.android.TrainingJobService

/** Goes on with the subject while the phone is charging and nobody uses it. */
class NightJobService : TrainingJobService() {
    override val notification: ProgressNotification by lazy {
        ProgressNotification(
            context = this,
            id = NOTIFICATION,
            channel = "learning",
            channelName = getString(R.string.notification_channel),
            icon = R.drawable.icon,
            title = getString(R.string.notification_title),
        ) { step, of -> getString(R.string.notification_step, step, of) }
    }

    override suspend fun events(parameters: JobParameters): Flow<RunEvent> {
        val app = application as DemoApplication
        val (photos, prompt) = SdkPersonalization.chosen(app) ?: return emptyFlow()
        val bundle = StoreBundles(app, "pictures").kept()
        if (bundle == null || !app.hasRuntime) return emptyFlow()
        return SdkPersonalization(app, bundle, Conditions.START, Conditions.CONTINUE).personalize(photos, prompt)
    }

    override fun onFailure(failure: PocketTuneException) {
        Log.w("PocketTune", "the run of the night failed", failure)
    }

    companion object {
        private const val NOTIFICATION = 1

        /** The job. */
        val JOB = TrainingJob(id = 1, service = NightJobService::class.java, persisted = true)
    }
}
