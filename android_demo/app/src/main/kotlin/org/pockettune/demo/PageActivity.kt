package org.pockettune.demo

import android.app.Activity
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.launch

/** A page: a column that scrolls, and states that are shown while the page can be seen. */
abstract class PageActivity : Activity() {
    protected val demo: DemoApplication get() = application as DemoApplication
    private var visible: CoroutineScope? = null

    /** Begins the collections of this page. */
    protected abstract fun onVisible()

    /** Hands each value to the page as long as it is visible. */
    protected fun <Value> show(
        values: Flow<Value>,
        draw: (Value) -> Unit,
    ) {
        checkNotNull(visible).launch { values.collect(draw) }
    }

    override fun onStart() {
        super.onStart()
        visible = CoroutineScope(SupervisorJob() + Dispatchers.Main.immediate)
        onVisible()
    }

    override fun onStop() {
        visible?.cancel()
        super.onStop()
    }

    /** Makes these views the page. */
    protected fun setColumn(vararg views: View) {
        val scroll = ScrollView(this).apply { addView(column(*views)) }
        // From Android 15 on, apps are drawn below the bars.
        scroll.fitsSystemWindows = true
        setContentView(scroll)
    }

    protected fun column(vararg views: View): LinearLayout =
        LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            val edge = pixels(EDGE)
            setPadding(edge, edge, edge, edge)
            views.forEach { addView(it, LinearLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT)) }
        }

    protected fun row(vararg views: View): LinearLayout =
        LinearLayout(this).apply { views.forEach { addView(it, LinearLayout.LayoutParams(0, WRAP_CONTENT, 1f)) } }

    protected fun text(value: CharSequence = ""): TextView = TextView(this).apply { text = value }

    protected fun heading(value: Int): TextView =
        TextView(this).apply {
            setText(value)
            setTextAppearance(android.R.style.TextAppearance_DeviceDefault_Medium)
            setPadding(0, pixels(EDGE), 0, 0)
        }

    protected fun button(
        label: Int,
        onTap: () -> Unit,
    ): Button =
        Button(this).apply {
            setText(label)
            setOnClickListener { onTap() }
        }

    protected fun pixels(dp: Int): Int = (dp * resources.displayMetrics.density).toInt()

    private companion object {
        const val EDGE = 16
    }
}
