package org.pockettune.android

import android.app.Application
import android.app.Notification
import android.app.NotificationManager
import android.app.job.JobParameters
import android.app.job.JobService
import android.content.pm.ServiceInfo
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.flow.flow
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.RunEvent
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowJobService
import kotlin.test.assertEquals
import kotlin.test.assertNotNull
import kotlin.test.assertNull

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34, 35], manifest = Config.NONE)
class ProgressNotificationTest {
    private val app: Application = RuntimeEnvironment.getApplication()
    private val shown = shadowOf(app.getSystemService(NotificationManager::class.java))
    private val progress =
        ProgressNotification(app, 11, "training", "Training", android.R.drawable.stat_sys_download, "Learning") { step, of ->
            "$step of $of"
        }

    @Test
    fun `a step is shown in words and as a bar`() {
        progress.update(RunEvent.Stepped(30, 200, 0.5f, 1.0))
        val extras = assertNotNull(shown.getNotification(11)).extras
        assertEquals("Learning", extras.getString(Notification.EXTRA_TITLE))
        assertEquals("30 of 200", extras.getString(Notification.EXTRA_TEXT))
        assertEquals(30 to 200, extras.getInt(Notification.EXTRA_PROGRESS) to extras.getInt(Notification.EXTRA_PROGRESS_MAX))
    }

    @Test
    fun `the channel makes no sound`() {
        val channel = app.getSystemService(NotificationManager::class.java)?.getNotificationChannel("training")
        assertEquals(NotificationManager.IMPORTANCE_LOW, channel?.importance)
    }

    @Test
    fun `the end of a run takes it away`() {
        progress.update(RunEvent.Stepped(1, 2, 0.5f, 1.0))
        progress.update(RunEvent.Stopped(1, emptyList()))
        assertNull(shown.getNotification(11))
    }

    @Test
    @Config(shadows = [NotedJobService::class])
    fun `a job shows it from its start on, and Android takes it away with the job`() {
        TestJobService.reset { flow { awaitCancellation() } }
        TestJobService.shown = progress
        val slice = Slice().apply { start() }
        val noted = Shadow.extract<NotedJobService>(slice.service)
        await("the notification") { noted.notification != null }
        assertEquals(true, noted.notification?.extras?.getBoolean(Notification.EXTRA_PROGRESS_INDETERMINATE))
        assertEquals(11 to JobService.JOB_END_NOTIFICATION_POLICY_REMOVE, noted.id to noted.policy)
        slice.stop()
    }

    @Test
    fun `a run that the user waits for is in the foreground`() {
        val service = Robolectric.buildService(TestJobService::class.java).create().get()
        progress.startForeground(service, ServiceInfo.FOREGROUND_SERVICE_TYPE_SPECIAL_USE)
        assertEquals(11, shadowOf(service).lastForegroundNotificationId)
        assertEquals("Learning", shadowOf(service).lastForegroundNotification.extras.getString(Notification.EXTRA_TITLE))
    }
}

/** Notes what a job gives Android to show; Robolectric's own drops it. */
@Implements(JobService::class)
class NotedJobService : ShadowJobService() {
    @Volatile
    var notification: Notification? = null
    var id = 0
    var policy = 0

    @Implementation(minSdk = 34)
    public override fun setNotification(
        parameters: JobParameters,
        id: Int,
        notification: Notification,
        policy: Int,
    ) {
        this.id = id
        this.policy = policy
        this.notification = notification
    }
}
