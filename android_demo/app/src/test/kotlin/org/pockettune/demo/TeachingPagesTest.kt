package org.pockettune.demo

import android.app.Activity
import android.app.job.JobScheduler
import android.content.ClipData
import android.content.Intent
import android.hardware.Sensor
import android.hardware.SensorManager
import android.net.Uri
import android.os.PowerManager
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.Bundle
import org.pockettune.demo.model.BundlePresenter
import org.pockettune.demo.model.BundleState
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.SensorEventBuilder
import org.robolectric.shadows.ShadowSensor
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertTrue

/** The pages that teach, with the bundles of `spec/vectors`; nothing is trained: that needs ExecuTorch's natives. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
class TeachingPagesTest {
    private val app = RuntimeEnvironment.getApplication() as DemoApplication

    private fun take(
        vector: String,
        kind: String,
        bundles: DemoApplication.() -> BundlePresenter<Bundle>,
    ) {
        val from = File(checkNotNull(System.getProperty("pockettune.root")), "spec/vectors/$vector")
        from.copyRecursively(app.filesDir.resolve("assets/$kind"))
        await { app.bundles().state.value is BundleState.Here }
    }

    private fun button(
        page: Activity,
        label: String,
    ) = views(page).filterIsInstance<Button>().single { "${it.text}" == label }

    private fun words(page: Activity) = views(page).filterIsInstance<TextView>().map { "${it.text}" }

    @Test
    fun `photos and a prompt are all that a start needs, and conditions are shown as the phone says them`() {
        take("bundle", "pictures") { pictures }
        shadowOf(app.getSystemService(PowerManager::class.java)).setIsPowerSaveMode(true)
        val page = Robolectric.buildActivity(PersonalizeActivity::class.java).setup().get()
        assertTrue(words(page).any { "✗ not saving power: no" in it }, "${words(page)}")
        val start = button(page, app.getString(R.string.start))
        assertFalse(start.isEnabled)
        button(page, app.getString(R.string.photos_pick)).performClick()
        val asked = shadowOf(page).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.action)
        val photo = Uri.parse("content://photos/1")
        val clip = ClipData.newRawUri("photos", photo).apply { addItem(ClipData.Item(Uri.parse("content://photos/2"))) }
        shadowOf(page).receiveResult(asked.intent, Activity.RESULT_OK, Intent().apply { clipData = clip })
        views(page).filterIsInstance<EditText>().single().setText("a cup")
        await { start.isEnabled }
        assertTrue("2 photos" in words(page))
        // The run of the night may read them too.
        assertTrue(photo in app.contentResolver.persistedUriPermissions.map { it.uri })
        button(page, app.getString(R.string.tonight)).performClick()
        val job = assertNotNull(app.getSystemService(JobScheduler::class.java)).allPendingJobs.single()
        assertTrue(job.isRequireCharging && job.isRequireDeviceIdle && job.isPersisted)
    }

    @Suppress("DEPRECATION") // their successors are AndroidX'
    @Test
    fun `motion is recorded while its button says so`() {
        take("bundle_classification", "gestures") { gestures }
        val manager = checkNotNull(app.getSystemService(SensorManager::class.java))
        val sensors = listOf(Sensor.TYPE_ACCELEROMETER, Sensor.TYPE_GYROSCOPE).map(ShadowSensor::newInstance)
        sensors.forEach(shadowOf(manager)::addSensor)
        val page = Robolectric.buildActivity(GestureActivity::class.java).setup().get()
        button(page, "Record: pendulum (0)").performClick()
        await { words(page).any { it == app.getString(R.string.gesture_stop) } }
        // Two seconds at 100 readings a second and sensor.
        for (reading in 0..200) {
            for (sensor in sensors) {
                val event =
                    SensorEventBuilder
                        .newBuilder()
                        .setSensor(sensor)
                        .setTimestamp(reading * 10_000_000L)
                        .setValues(floatArrayOf(0f, 0f, 9.81f))
                        .build()
                shadowOf(manager).sendSensorEventToListeners(event)
            }
        }
        button(page, app.getString(R.string.gesture_stop)).performClick()
        await { words(page).any { Regex("""Record: pendulum \([1-9]\d*\)""").matches(it) } }
    }
}
