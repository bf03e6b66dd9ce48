package org.pockettune.android

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.content.Context
import org.pockettune.RunEvent

/**
 * How far a run is, as a notification that an app shows while it works (`JobService.setNotification`, or a foreground
 * service).
 *
 * @param context any context of the app.
 * @param title what the app calls the run.
 * @param icon a small icon of the app.
 * @param channel the channel's name, for people; it is made when it is not there.
 */
public class RunNotification(
    private val context: Context,
    private val title: CharSequence,
    private val icon: Int,
    channel: CharSequence = title,
) {
    init {
        val made = NotificationChannel(CHANNEL, channel, NotificationManager.IMPORTANCE_LOW)
        context.getSystemService(NotificationManager::class.java)?.createNotificationChannel(made)
    }

    /** The notification after an event. */
    public fun of(event: RunEvent): Notification {
        val builder = Notification.Builder(context, CHANNEL).setContentTitle(title).setSmallIcon(icon).setOnlyAlertOnce(true)
        when (event) {
            is RunEvent.Prepared -> builder.setProgress(event.of, event.done, false).setOngoing(true)
            is RunEvent.Stepped -> builder.setProgress(event.of, event.step, false).setOngoing(true)
            is RunEvent.Resumed, is RunEvent.Checkpointed, is RunEvent.Damaged -> builder.setProgress(0, 0, true).setOngoing(true)
            is RunEvent.Stopped, is RunEvent.Finished -> builder.setProgress(0, 0, false).setOngoing(false)
        }
        return builder.build()
    }

    private companion object {
        const val CHANNEL = "pockettune"
    }
}
