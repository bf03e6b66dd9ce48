package org.pockettune.android

import android.app.Application
import android.app.job.JobScheduler
import android.net.NetworkCapabilities
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.Conditions
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34, 35], manifest = Config.NONE)
class TrainingJobTest {
    private val app: Application = RuntimeEnvironment.getApplication()
    private val scheduler = checkNotNull(app.getSystemService(JobScheduler::class.java))

    @Test
    fun `Android is asked for what the conditions ask for`() {
        TrainingJob(3, TestJobService::class.java).schedule(app)
        val job = scheduler.allPendingJobs.single()
        assertEquals(TestJobService::class.java.name, job.service.className)
        assertTrue(job.isRequireCharging && job.isRequireDeviceIdle && job.isRequireBatteryNotLow && job.isRequireStorageNotLow)
        assertNull(job.requiredNetwork)
        assertFalse(job.isPersisted)
    }

    @Test
    fun `what is not asked for is not waited for`() {
        val conditions = Conditions(charging = false, minimumBatteryPercent = 0, idle = false, unmetered = true)
        TrainingJob(3, TestJobService::class.java, conditions, persisted = true).schedule(app)
        val job = scheduler.allPendingJobs.single()
        assertFalse(job.isRequireCharging || job.isRequireDeviceIdle || job.isRequireBatteryNotLow)
        assertEquals(true, job.requiredNetwork?.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED))
        assertTrue(job.isPersisted)
    }

    @Test
    fun `one job is in the queue however often it is asked for, until it is canceled`() {
        val job = TrainingJob(3, TestJobService::class.java)
        assertFalse(job.isScheduled(app))
        repeat(3) { job.schedule(app) }
        assertEquals(1, scheduler.allPendingJobs.size)
        assertTrue(job.isScheduled(app))
        job.cancel(app)
        assertFalse(job.isScheduled(app))
    }
}
