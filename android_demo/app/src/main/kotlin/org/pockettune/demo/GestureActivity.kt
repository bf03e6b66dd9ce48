package org.pockettune.demo

import android.hardware.Sensor
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import android.os.Bundle
import android.widget.Button
import org.pockettune.demo.model.BundleState
import org.pockettune.demo.model.GesturePresenter
import org.pockettune.demo.model.GestureState
import org.pockettune.demo.model.MotionFormat
import org.pockettune.demo.model.MotionWindows
import org.pockettune.demo.model.describe
import java.util.Properties

/** Motions in, a name for them out. */
class GestureActivity :
    PageActivity(),
    SensorEventListener {
    private lateinit var page: GesturePresenter
    private lateinit var format: MotionFormat
    private lateinit var windows: MotionWindows
    private lateinit var records: List<Button>
    private var length = 0
    private val manager by lazy { checkNotNull(getSystemService(SensorManager::class.java)) }
    private val kinds = listOf(Sensor.TYPE_ACCELEROMETER, Sensor.TYPE_GYROSCOPE)
    private val guess by lazy { heading(R.string.page_gestures) }
    private val status by lazy { text() }
    private val accuracy by lazy { text() }
    private val train by lazy { button(R.string.gesture_train) { page.train() } }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        val bundle = (demo.gestures.state.value as? BundleState.Here)?.bundle ?: return finish()
        val task = bundle.manifest.classification ?: return finish()
        length = task.inputShape.last()
        format = MotionFormat.read(Properties().apply { assets.open("gestures.properties").use(::load) })
        val labels = List(task.classes) { format.labels.getOrElse(it) { number -> "motion ${number + 1}" } }
        page = demo.page(bundle) { GesturePresenter(demo.scope, SdkRecognizer(demo, bundle), labels) }
        records = labels.indices.map { label -> Button(this).apply { setOnClickListener { toggle(label) } } }
        setColumn(guess, *records.toTypedArray(), train, status, accuracy)
    }

    override fun onVisible() {
        show(page.state, ::draw)
        // A pause of the page is a gap in the motion: windows begin anew.
        windows = MotionWindows(format, length, page::onWindow)
        val sensors = kinds.take(format.sensors).map(manager::getDefaultSensor)
        if (sensors.any { it == null }) status.setText(R.string.gesture_no_sensor)
        val microseconds = (MICROSECONDS / format.rate).toInt()
        sensors.filterNotNull().forEach { manager.registerListener(this, it, microseconds) }
    }

    override fun onStop() {
        manager.unregisterListener(this)
        page.stopRecording()
        super.onStop()
    }

    override fun onSensorChanged(event: SensorEvent) = windows.add(kinds.indexOf(event.sensor.type), event.timestamp, event.values)

    override fun onAccuracyChanged(
        sensor: Sensor?,
        accuracy: Int,
    ) = Unit

    private fun toggle(label: Int) = if (page.state.value.recording == label) page.stopRecording() else page.record(label)

    private fun draw(state: GestureState) {
        guess.text =
            state.guess?.let { getString(R.string.gesture_guess, state.labels[it.label], (HUNDRED * it.probability).toInt()) } ?: "…"
        records.forEachIndexed { label, button ->
            button.text =
                if (state.recording == label) {
                    getString(R.string.gesture_stop)
                } else {
                    getString(R.string.gesture_record, state.labels[label], state.recorded[label])
                }
        }
        train.isEnabled = state.canTrain
        status.text = describe(state.progress.phase)
        accuracy.text =
            state.accuracyBefore
                ?.let { getString(R.string.gesture_accuracy, percent(it), state.accuracyAfter?.let(::percent) ?: "…") }
                .orEmpty()
    }

    private fun percent(share: Double) = "${Math.round(HUNDRED * share)} %"

    private companion object {
        const val MICROSECONDS = 1e6
        const val HUNDRED = 100
    }
}
