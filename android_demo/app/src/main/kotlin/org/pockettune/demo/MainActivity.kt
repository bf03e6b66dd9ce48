package org.pockettune.demo

import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.text.InputType
import android.view.View
import android.widget.EditText
import android.widget.LinearLayout
import org.pockettune.demo.model.BundlePresenter
import org.pockettune.demo.model.BundleState
import org.pockettune.demo.model.describe
import kotlin.reflect.KClass

/** The way in: bundles, and the pages that they open. */
class MainActivity : PageActivity() {
    private class Section(
        val bundles: BundlePresenter<org.pockettune.Bundle>,
        val view: LinearLayout,
        val draw: (BundleState<org.pockettune.Bundle>) -> Unit,
    )

    private lateinit var sections: List<Section>

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        sections =
            listOf(
                section(R.string.bundle_pictures, R.string.page_personalize, demo.pictures, PersonalizeActivity::class),
                section(R.string.bundle_gestures, R.string.page_gestures, demo.gestures, GestureActivity::class),
            )
        val runtime = text().apply { if (demo.hasRuntime) visibility = View.GONE else setText(R.string.runtime_missing) }
        val memory = button(R.string.page_memory) { open(MemoryActivity::class) }
        setColumn(runtime, *sections.map { it.view }.toTypedArray(), memory)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            requestPermissions(arrayOf(android.Manifest.permission.POST_NOTIFICATIONS), 0)
        }
    }

    override fun onVisible() = sections.forEach { show(it.bundles.state, it.draw) }

    private fun section(
        title: Int,
        page: Int,
        bundles: BundlePresenter<org.pockettune.Bundle>,
        activity: KClass<out PageActivity>,
    ): Section {
        val status = text()
        val address =
            EditText(this).apply {
                setHint(R.string.bundle_address)
                inputType = InputType.TYPE_CLASS_TEXT or InputType.TYPE_TEXT_VARIATION_URI
            }
        val open = button(page) { open(activity) }
        val assets = button(R.string.bundle_assets, bundles::takeFromApp)
        val download = button(R.string.bundle_download) { bundles.download(address.text.toString().trim()) }
        val view = column(heading(title), status, row(assets, download), address, open)
        return Section(bundles, view) { state ->
            status.text = describe(state, getString(R.string.bundle_missing)) { (it as org.pockettune.Bundle).manifest.name }
            open.isEnabled = state is BundleState.Here && demo.hasRuntime
        }
    }

    private fun open(page: KClass<out PageActivity>) = startActivity(Intent(this, page.java))
}
