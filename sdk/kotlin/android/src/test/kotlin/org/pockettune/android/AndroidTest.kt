package org.pockettune.android

import android.app.ActivityManager
import android.app.Application
import android.app.Notification
import android.app.job.JobParameters
import android.graphics.Bitmap
import android.graphics.Color
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.PowerManager
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOf
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.Condition
import org.pockettune.Conditions
import org.pockettune.Failing
import org.pockettune.Reason
import org.pockettune.RunEvent
import org.pockettune.Store
import org.pockettune.Thermal
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.util.ReflectionHelpers
import java.nio.file.Files
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** A job whose stream the test gives. */
class TestJob : RunJobService() {
    override fun run(parameters: JobParameters): Flow<RunEvent> = stream

    companion object {
        lateinit var stream: Flow<RunEvent>
    }
}

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34, 35], manifest = Config.NONE)
class AndroidTest {
    private val app: Application = RuntimeEnvironment.getApplication()
    private val battery = app.getSystemService(BatteryManager::class.java)
    private val power = app.getSystemService(PowerManager::class.java)
    private val memory = app.getSystemService(ActivityManager::class.java)

    @Test
    fun `sensors say what the system says`() {
        val sensors = AndroidSensors(app, Store(Files.createTempDirectory("store")))
        for (charging in listOf(true, false)) {
            shadowOf(battery).setIsCharging(charging)
            assertEquals(charging, sensors.read().charging)
        }
        for ((told, percent) in listOf(0 to 0, 57 to 57, 100 to 100, Int.MIN_VALUE to null)) {
            shadowOf(battery).setIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY, told)
            assertEquals(percent, sensors.read().batteryPercent)
        }
        for (thermal in Thermal.entries) {
            shadowOf(power).setCurrentThermalStatus(thermal.ordinal)
            assertEquals(thermal, sensors.read().thermal)
        }
        for (on in listOf(true, false)) {
            shadowOf(power).setIsPowerSaveMode(on)
            shadowOf(power).turnScreenOn(on)
            assertEquals(on, sensors.read().powerSave)
            assertEquals(!on, sensors.read().idle)
        }
        val free = ActivityManager.MemoryInfo()
        free.availMem = 3L shl 30
        free.threshold = 1L shl 30
        shadowOf(memory).setMemoryInfo(free)
        assertEquals(2L shl 30, sensors.read().availableMemoryBytes)
        free.lowMemory = true
        shadowOf(memory).setMemoryInfo(free)
        assertEquals(0, sensors.read().availableMemoryBytes)
        assertTrue(checkNotNull(sensors.read().freeStorageBytes) > 0)
    }

    @Test
    fun `bitmaps keep their colors there and back and lie on white`() {
        val bitmap = Bitmap.createBitmap(3, 2, Bitmap.Config.ARGB_8888)
        val colors = listOf(Color.RED, Color.GREEN, Color.BLUE, Color.BLACK, Color.WHITE, Color.argb(0, 9, 9, 9))
        colors.forEachIndexed { index, color -> bitmap.setPixel(index % 3, index / 3, color) }
        val picture = bitmap.toPicture()
        assertEquals(listOf(3, 2), listOf(picture.width, picture.height))
        val shown = picture.toBitmap()
        for ((index, color) in colors.withIndex()) {
            val expected = if (index == 5) Color.WHITE else color
            assertEquals(expected, shown.getPixel(index % 3, index / 3))
        }
    }

    private fun parameters(): JobParameters = ReflectionHelpers.newInstance(JobParameters::class.java)

    private fun finished(stream: Flow<RunEvent>): Pair<Boolean, Boolean> {
        TestJob.stream = stream
        val service = Robolectric.buildService(TestJob::class.java).create().get()
        assertTrue(service.onStartJob(parameters()))
        repeat(200) { if (!shadowOf(service).isJobFinished) Thread.sleep(10) }
        return shadowOf(service).isJobFinished to shadowOf(service).isRescheduleNeeded
    }

    @Test
    fun `a job ends with its run and is put off when a condition failed`() {
        val failing = listOf(Failing(Condition.CHARGING, Reason.UNMET))
        assertEquals(true to true, finished(flowOf(RunEvent.Stopped(3, failing))))
        assertEquals(true to false, finished(flowOf(RunEvent.Stopped(3, emptyList()))))
        assertEquals(true to false, finished(flowOf(RunEvent.Checkpointed(3))))
    }

    @Test
    fun `the system's end of a job cancels the run`() {
        val began = CountDownLatch(1)
        val canceled = CountDownLatch(1)
        TestJob.stream =
            flow {
                began.countDown()
                try {
                    awaitCancellation()
                } finally {
                    canceled.countDown()
                }
            }
        val service = Robolectric.buildService(TestJob::class.java).create().get()
        val parameters = parameters()
        service.onStartJob(parameters)
        assertTrue(began.await(5, TimeUnit.SECONDS))
        assertTrue(service.onStopJob(parameters))
        assertTrue(canceled.await(5, TimeUnit.SECONDS))
        assertFalse(shadowOf(service).isJobFinished)
    }

    @Test
    fun `the system's conditions are those of the run`() {
        val all = RunJobService.jobInfo(app, 7, TestJob::class.java, Conditions(unmetered = true))
        assertTrue(all.isRequireCharging && all.isRequireDeviceIdle && all.isRequireBatteryNotLow)
        val unmetered = NetworkCapabilities.NET_CAPABILITY_NOT_METERED
        assertTrue(all.requiredNetwork?.hasCapability(unmetered) == true)
        val none = Conditions(charging = false, idle = false, minimumBatteryPercent = 0)
        val few = RunJobService.jobInfo(app, 7, TestJob::class.java, none)
        assertFalse(few.isRequireCharging || few.isRequireDeviceIdle || few.isRequireBatteryNotLow)
        assertNull(few.requiredNetwork)
    }

    @Test
    fun `the notification says how far the run is`() {
        val notification = RunNotification(app, "Learning", android.R.drawable.ic_popup_sync)
        val step = notification.of(RunEvent.Stepped(30, 200, 0.5f, 0.1))
        assertEquals(30, step.extras.getInt(Notification.EXTRA_PROGRESS))
        assertEquals(200, step.extras.getInt(Notification.EXTRA_PROGRESS_MAX))
        assertTrue(step.flags and Notification.FLAG_ONGOING_EVENT != 0)
        val end = notification.of(RunEvent.Stopped(30, emptyList()))
        assertEquals(0, end.flags and Notification.FLAG_ONGOING_EVENT)
    }
}
