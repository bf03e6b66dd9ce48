package org.pockettune.demo

import androidx.test.platform.app.InstrumentationRegistry
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.pockettune.Conditions
import org.pockettune.Examples
import org.pockettune.RunEvent
import org.pockettune.Trainer
import org.pockettune.TrainingSettings
import org.pockettune.android.AndroidSensors
import kotlin.random.Random
import kotlin.test.assertEquals
import kotlin.test.assertIs
import kotlin.test.assertNotNull
import kotlin.test.assertTrue

/** For an emulator or a phone; never run where PocketTune is developed. */
class OnDeviceTest {
    private val app = InstrumentationRegistry.getInstrumentation().targetContext.applicationContext as DemoApplication

    @Test
    fun everySensorTells() {
        val state = AndroidSensors(app).read()
        val unknown = listOf(state.charging, state.batteryPercent, state.thermal, state.idle, state.unmetered, state.powerSave)
        assertTrue(unknown.all { it != null }, "$state")
        assertTrue(assertNotNull(state.freeStorageBytes) > 0 && assertNotNull(state.availableMemoryBytes) > 0)
    }

    @Test
    fun theRuntimeIsThere() = assertTrue(app.hasRuntime)

    /** Needs the bundle of make_assets.py gestures. */
    @Test
    fun aClassifierLearns() =
        runBlocking {
            assumeTrue(
                app.assets
                    .list("bundles/gestures")
                    .orEmpty()
                    .isNotEmpty(),
            )
            val bundle = StoreBundles(app, "gestures").fromApp()
            val task = assertNotNull(bundle.manifest.classification)
            val size = task.inputShape.reduce(Int::times)
            val random = Random(1)
            // Two classes that a person could tell apart: one above zero, one below.
            val labels = IntArray(64) { it % 2 }
            val inputs = FloatArray(labels.size * size) { (if (labels[it / size] == 0) 1f else -1f) + random.nextFloat() }
            val anyhow = Conditions(charging = false, minimumBatteryPercent = 0, maximumThermal = null, idle = false, powerSave = false)
            val trainer = Trainer(bundle, app.engine, app.store, app.sensors, anyhow, anyhow)
            trainer.discard("device-test")
            val examples = Examples(inputs, labels)
            val before = trainer.evaluate(examples).loss
            val end = trainer.train("device-test", examples, TrainingSettings(steps = 50)).toList().last()
            assertTrue(assertIs<RunEvent.Finished>(end).result.accepted)
            assertTrue(trainer.evaluate(examples, "device-test").loss < before)
            assertEquals(labels.size, trainer.predict(inputs, "device-test").size / task.classes)
        }
}
