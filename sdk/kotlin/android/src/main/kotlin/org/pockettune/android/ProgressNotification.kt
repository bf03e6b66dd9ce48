package org.pockettune.android

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.app.Service
import android.app.job.JobParameters
import android.app.job.JobService
import android.content.Context
import android.os.Build
import org.pockettune.RunEvent

/**
 * Shows in the status bar how far a run is. The words are the app's.
 *
 * From Android 13 on it is seen only when the user granted `android.permission.POST_NOTIFICATIONS`; the run doesn't mind.
 *
 * @param context any context of the app.
 * @property id the notification's number, one of the app's own and not 0.
 * @param channel the id of the channel, which is made when there is none.
 * @param channelName the channel's name in the phone's settings.
 * @param icon a small icon of the app's resources.
 * @param title the title.
 * @param onTap what a tap opens; null: nothing.
 * @param text what stands below the title after a step, from the step and the number of steps.
 */
public class ProgressNotification(
    context: Context,
    public val id: Int,
    private val channel: String,
    private val channelName: String,
    private val icon: Int,
    private val title: String,
    private val onTap: PendingIntent? = null,
    private val text: (step: Int, of: Int) -> String,
) {
    private val context = context.applicationContext
    private val manager = checkNotNull(this.context.getSystemService(NotificationManager::class.java))

    init {
        // No sound and no pop-up: the user did not ask for attention. Making a channel that is there changes nothing.
        manager.createNotificationChannel(NotificationChannel(channel, channelName, NotificationManager.IMPORTANCE_LOW))
    }

    /** The notification after some steps; before the first one (`step` null) the bar only moves. */
    public fun build(
        step: Int? = null,
        of: Int = 0,
    ): Notification =
        Notification
            .Builder(context, channel)
            .setSmallIcon(icon)
            .setContentTitle(title)
            .setContentText(step?.let { text(it, of) })
            .setProgress(of, step ?: 0, step == null)
            .setContentIntent(onTap)
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .setCategory(Notification.CATEGORY_PROGRESS)
            .build()

    /** Shows what an event says: progress after a step, nothing any more after the run's last event. */
    public fun update(event: RunEvent) {
        when (event) {
            is RunEvent.Stepped -> manager.notify(id, build(event.step, event.of))
            is RunEvent.Stopped, is RunEvent.Finished -> remove()
            else -> Unit
        }
    }

    /** Takes it away. */
    public fun remove(): Unit = manager.cancel(id)

    /** Shows it as a job's: Android 14 and later take it away by themselves when the job ends. */
    public fun attach(
        job: JobService,
        parameters: JobParameters,
    ) {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            job.setNotification(parameters, id, build(), JobService.JOB_END_NOTIFICATION_POLICY_REMOVE)
        } else {
            manager.notify(id, build())
        }
    }

    /**
     * Makes a service that the app started a foreground service, for a run that the user began and waits for.
     *
     * @param type one of `ServiceInfo.FOREGROUND_SERVICE_TYPE_...` that the app's manifest gives the service. Android knows
     *   no type for training: `specialUse` fits best.
     */
    public fun startForeground(
        service: Service,
        type: Int,
    ): Unit = service.startForeground(id, build(), type)
}
