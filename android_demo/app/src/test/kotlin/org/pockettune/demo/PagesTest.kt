package org.pockettune.demo

import android.app.Activity
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.TextView
import kotlinx.coroutines.runBlocking
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.PocketTuneException
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowLooper
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
class PagesTest {
    private val app = RuntimeEnvironment.getApplication()

    @Test
    fun `without the runtime's natives the way in says so and opens no page that trains`() {
        val page = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        assertTrue(words(page).any { it == app.getString(R.string.runtime_missing) })
        val pages = listOf(R.string.page_personalize, R.string.page_gestures).map(app::getString)
        val buttons = views(page).filterIsInstance<Button>().filter { "${it.text}" in pages }
        assertEquals(2, buttons.size)
        assertFalse(buttons.any { it.isEnabled })
    }

    @Test
    fun `a build without bundles says how to make one`() {
        val failure = assertFailsWith<PocketTuneException> { runBlocking { StoreBundles(app as DemoApplication, "none").fromApp() } }
        assertTrue("make_assets.py" in failure.message.orEmpty())
    }

    @Test
    fun `the memory page shows what this process takes`() {
        val page = Robolectric.buildActivity(MemoryActivity::class.java).setup().get()
        await { words(page).any { Regex("""VmHWM\): [1-9]\d* MB""").containsMatchIn(it) } }
    }

    @Test
    fun `a page without its bundle closes`() {
        for (page in listOf(PersonalizeActivity::class.java, GestureActivity::class.java)) {
            assertTrue(
                Robolectric
                    .buildActivity(page)
                    .create()
                    .get()
                    .isFinishing,
            )
        }
    }

    private fun words(page: Activity) = views(page).filterIsInstance<TextView>().map { "${it.text}" }
}

/** All views of a page. */
internal fun views(page: Activity): List<View> = below(page.window.decorView)

private fun below(view: View): List<View> =
    listOf(view) + ((view as? ViewGroup)?.let { group -> List(group.childCount) { below(group.getChildAt(it)) }.flatten() } ?: emptyList())

/** Waits until something is so, for at most ten seconds. */
internal fun await(isSo: () -> Boolean) {
    val end = System.nanoTime() + 10_000_000_000
    while (!isSo()) {
        check(System.nanoTime() < end) { "not in ten seconds" }
        Thread.sleep(10)
        ShadowLooper.idleMainLooper()
    }
}
