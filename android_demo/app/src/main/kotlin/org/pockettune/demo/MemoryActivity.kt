package org.pockettune.demo

import android.os.Bundle
import android.os.Debug
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import org.pockettune.demo.model.BundleState
import org.pockettune.demo.model.MemoryLine
import org.pockettune.demo.model.MemoryReading
import org.pockettune.demo.model.budgetLines
import org.pockettune.demo.model.memoryLines
import org.pockettune.demo.model.processFigures
import java.io.File

/** What the app takes, next to what its bundles promise. */
class MemoryActivity : PageActivity() {
    private val now by lazy { text() }
    private val promised by lazy { text() }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        setColumn(heading(R.string.memory_now), now, heading(R.string.memory_budget), promised)
    }

    override fun onVisible() {
        val readings = flow { while (true) emit(read()).also { delay(SECOND) } }.flowOn(Dispatchers.IO)
        show(readings) { now.text = words(memoryLines(it)) }
        val bundles = listOf(demo.pictures, demo.gestures).mapNotNull { (it.state.value as? BundleState.Here)?.bundle }
        promised.text =
            bundles
                .joinToString(
                    "\n\n",
                ) { "${it.manifest.name}\n${words(budgetLines(it.manifest))}" }
                .ifEmpty { getString(R.string.bundle_missing) }
    }

    private fun read(): MemoryReading {
        val info = Debug.MemoryInfo().also(Debug::getMemoryInfo)
        val figures = processFigures(File("/proc/self/status").readText())
        return MemoryReading(
            pss = info.totalPss * KIBI,
            anonymous = figures["RssAnon"],
            mapped = figures["RssFile"],
            peak = figures["VmHWM"],
            available = demo.sensors.read().availableMemoryBytes,
        )
    }

    private fun words(lines: List<MemoryLine>): String = lines.joinToString("\n") { "${it.name}: ${it.value}" }

    private companion object {
        const val SECOND = 1_000L
        const val KIBI = 1024L
    }
}
