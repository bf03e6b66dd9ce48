package org.pockettune.guides

import android.app.job.JobParameters
import android.util.Log
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.last
import org.pockettune.Bundle
import org.pockettune.BundleDownloader
import org.pockettune.BundleKey
import org.pockettune.DownloadEvent
import org.pockettune.Examples
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.Sensors
import org.pockettune.Store
import org.pockettune.Trainer
import org.pockettune.android.AndroidSensors
import org.pockettune.android.TrainingJob
import org.pockettune.android.TrainingJobService
import org.pockettune.executorch.ExecuTorchEngine

// guide: download

/** The bundle from your server, signed by you; null: there was no Wi-Fi, what came so far is kept. */
public suspend fun fetch(
    store: Store,
    address: String,
    key: BundleKey,
    sensors: Sensors,
): Bundle? =
    when (val last = BundleDownloader(store).download(address, key, unmetered = sensors).last()) {
        is DownloadEvent.Finished -> last.bundle
        else -> null
    }

// end guide

// guide: job

/** Your `Application` gives what it recorded. */
public interface Recordings {
    /** Examples to learn from: the same ones until a run has finished. */
    public fun learned(): Examples

    /** Examples that nothing is learned from: a run that is worse on them is thrown away. */
    public fun heldBack(): Examples

    /** Whether a run has finished since, so that [learned] gives others than the last time. */
    public fun areNew(): Boolean
}

/** Learns the user's gestures at night. In the manifest: `android:permission="android.permission.BIND_JOB_SERVICE"`. */
public class GestureJob : TrainingJobService() {
    override suspend fun events(parameters: JobParameters): Flow<RunEvent> {
        val files = filesDir.toPath()
        val store = Store(files.resolve("learned"), quotaBytes = 64L shl 20)
        val trainer = Trainer(Bundle.open(files.resolve("gestures")), ExecuTorchEngine(), store, AndroidSensors(this))
        val recordings = (application as Recordings)
        // A saved run goes on only with the examples that it began with.
        if (recordings.areNew()) trainer.discard("gestures")
        return trainer.train("gestures", recordings.learned(), validation = recordings.heldBack())
    }

    override fun onFailure(failure: PocketTuneException) {
        Log.w("gestures", "${failure.code}: ${failure.message}")
    }

    public companion object {
        /** Call `JOB.schedule(context)` once, from anywhere in the app. */
        @JvmField
        public val JOB: TrainingJob = TrainingJob(id = 7, service = GestureJob::class.java)
    }
}

// end guide

// guide: forget

/** Everything that was learned from the user, gone; the bundles stay. */
public suspend fun forget(store: Store): String {
    val gone = store.deletePersonalData()
    return "${gone.files} files, ${gone.bytes} bytes"
}

// end guide
