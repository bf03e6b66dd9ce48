package org.pockettune.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.view.WindowManager
import android.widget.EditText
import android.widget.ImageView
import android.widget.TextView
import android.widget.Toast
import kotlinx.coroutines.flow.flow
import org.pockettune.Needs
import org.pockettune.Picture
import org.pockettune.android.toBitmap
import org.pockettune.demo.model.BundleState
import org.pockettune.demo.model.Light
import org.pockettune.demo.model.PersonalizePresenter
import org.pockettune.demo.model.PersonalizeState
import org.pockettune.demo.model.conditionLines
import org.pockettune.demo.model.describe
import org.pockettune.demo.model.lossLine

/** Photos in, progress, pictures out. */
class PersonalizeActivity : PageActivity() {
    private lateinit var page: PersonalizePresenter<Picture>
    private val photos by lazy { text() }
    private val prompt by lazy { EditText(this).apply { setHint(R.string.prompt_hint) } }
    private val start by lazy { button(R.string.start) { page.start() } }
    private val pause by lazy { button(R.string.pause) { page.pause() } }
    private val tonight by lazy { button(R.string.tonight, ::goOnTonight) }
    private val status by lazy { text() }
    private val chart by lazy { ChartView(this) }
    private val conditions by lazy { text() }
    private val before by lazy { ImageView(this).apply { adjustViewBounds = true } }
    private val after by lazy { ImageView(this).apply { adjustViewBounds = true } }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        // The main page opens this one only with a bundle; Android may bring it back without.
        val bundle = (demo.pictures.state.value as? BundleState.Here)?.bundle ?: return finish()
        page =
            demo.page(bundle) {
                val work = SdkPersonalization(demo, bundle, SdkPersonalization.WATCHED_START, SdkPersonalization.WATCHED_CONTINUE)
                val (photos, prompt) = SdkPersonalization.chosen(demo) ?: (emptyList<String>() to "")
                PersonalizePresenter(demo.scope, work, photos, prompt)
            }
        prompt.setText(page.state.value.prompt)
        prompt.addTextChangedListener(Typed(page::setPrompt))
        setColumn(
            row(
                button(R.string.photos_pick, ::pick),
                button(R.string.photos_clear) {
                    page.state.value.photos
                        .forEach(page::removePhoto)
                },
            ),
            photos,
            prompt,
            row(start, pause),
            tonight,
            status,
            heading(R.string.loss),
            chart,
            heading(R.string.conditions),
            conditions,
            row(heading(R.string.picture_before), heading(R.string.picture_after)),
            row(before, after),
            button(R.string.forget) { page.forget() },
        )
    }

    override fun onVisible() {
        show(page.state, ::draw)
        show(flow { while (true) emit(demo.sensors.read()).also { kotlinx.coroutines.delay(SECOND) } }) { state ->
            val lines = conditionLines(SdkPersonalization.WATCHED_CONTINUE, state, Needs(0, 0)).filter { it.light != Light.OFF }
            conditions.text = lines.joinToString("\n") { "${if (it.light == Light.GREEN) "✓" else "✗"} ${it.name}: ${it.says}" }
        }
    }

    private fun draw(state: PersonalizeState<Picture>) {
        photos.text = resources.getQuantityString(R.plurals.photos, state.photos.size, state.photos.size)
        start.isEnabled = state.canStart
        pause.isEnabled = state.canPause
        tonight.isEnabled = state.canStart || state.canPause
        prompt.isEnabled = !state.progress.phase.isWorking
        if (prompt.text.toString() != state.prompt) prompt.setText(state.prompt)
        status.setText(describe(state.progress.phase), TextView.BufferType.NORMAL)
        chart.line = lossLine(state.progress.losses, state.progress.losses.size)
        before.setImageBitmap(state.before?.toBitmap())
        after.setImageBitmap(state.after?.toBitmap())
        // A phone that goes to sleep would slow the run that the user waits for.
        val awake = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
        if (state.progress.phase.isWorking) window.addFlags(awake) else window.clearFlags(awake)
    }

    private fun goOnTonight() {
        val (photos, prompt) = page.state.value
        SdkPersonalization.choose(demo, photos, prompt)
        page.pause()
        NightJobService.JOB.schedule(this)
        Toast.makeText(this, R.string.tonight_asked, Toast.LENGTH_LONG).show()
    }

    private fun pick() {
        val intent =
            Intent(Intent.ACTION_OPEN_DOCUMENT)
                .addCategory(Intent.CATEGORY_OPENABLE)
                .setType("image/*")
                .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true)
        @Suppress("DEPRECATION") // its successor is AndroidX'
        startActivityForResult(intent, PICK)
    }

    @Deprecated("Its successor is AndroidX'.")
    override fun onActivityResult(
        request: Int,
        result: Int,
        data: Intent?,
    ) {
        if (request != PICK || result != Activity.RESULT_OK || data == null) return
        val several = data.clipData?.let { clip -> List(clip.itemCount) { clip.getItemAt(it).uri } }
        val picked = several ?: listOfNotNull(data.data)
        // The run of the night reads them too, when this page is long gone.
        picked.forEach { contentResolver.takePersistableUriPermission(it, Intent.FLAG_GRANT_READ_URI_PERMISSION) }
        page.addPhotos(picked.map { "$it" })
    }

    private class Typed(
        private val onText: (String) -> Unit,
    ) : TextWatcher {
        override fun afterTextChanged(text: Editable) = onText("$text")

        override fun beforeTextChanged(
            text: CharSequence,
            start: Int,
            count: Int,
            after: Int,
        ) = Unit

        override fun onTextChanged(
            text: CharSequence,
            start: Int,
            before: Int,
            count: Int,
        ) = Unit
    }

    private companion object {
        const val PICK = 1
        const val SECOND = 1_000L
    }
}
