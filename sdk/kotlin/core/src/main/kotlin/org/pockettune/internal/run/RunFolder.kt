package org.pockettune.internal.run

import org.pockettune.Needs
import org.pockettune.RunEvent
import org.pockettune.RunResult
import org.pockettune.Store
import org.pockettune.internal.JsonWriter
import org.pockettune.internal.PARTIAL
import org.pockettune.internal.childrenOf
import org.pockettune.internal.deleteTree
import org.pockettune.internal.storage
import org.pockettune.internal.usedBytes
import org.pockettune.internal.writeFile
import java.nio.file.Files
import java.nio.file.Path

/** Where one run of a store works. */
internal class RunFolder(
    private val store: Store,
    private val name: String,
) {
    val work: Path = store.workFolder(name)
    val adapter: Path = store.adapterFile(name)

    /** Calls [body] while this process holds the folder; the store can stop it by [control]. */
    fun <Result> locked(
        control: Control,
        body: () -> Result,
    ): Result =
        store.lockRun(name, control::pause).use {
            removePartialFiles()
            body()
        }

    /** Raises `quota_exceeded` when what the run needs beside what it has would not fit. */
    fun requireRoom(needs: Needs) = store.requireRoom(maxOf(0, needs.storageBytes - usedBytes(work)))

    /** Forgets the run; kept adapters stay. */
    fun discard() {
        store.lockRun(name) {}.use { deleteTree(work) }
        deleteTree(store.runFolder(name))
    }

    /** What a killed run left half-written. */
    private fun removePartialFiles() {
        val left = childrenOf(work) + childrenOf(work.parent)
        for (path in left) if ("$path".endsWith(PARTIAL)) storage("remove", path) { Files.deleteIfExists(path) }
    }

    /** Writes `result.json`; [changeName] and [more] are what one kind of run has beside the others. */
    fun writeResult(
        result: RunResult,
        memory: ProcessMemory,
        changeName: String,
        more: Map<String, Double>,
    ) {
        val members = sortedMapOf<String, JsonWriter.() -> Unit>()
        members["accepted"] = { boolean(result.accepted) }
        members[changeName] = { number(result.change) }
        members["evaluation_after"] = { number(result.evaluationAfter) }
        members["evaluation_before"] = { number(result.evaluationBefore) }
        members["loss_first"] = { number(result.lossFirst) }
        members["loss_last"] = { number(result.lossLast) }
        members["losses"] = { array { result.losses.forEach { number(it) } } }
        members["peak_pss_bytes"] = { number(memory.peakPssBytes()) }
        members["peak_rss_bytes"] = { number(memory.peakRssBytes()) }
        members["resumed_from"] = { number(result.resumedFrom?.toDouble() ?: Double.NaN) }
        members["seconds_per_step"] = { number(result.secondsPerStep) }
        members["steps"] = { number(result.steps.toLong()) }
        for ((name, value) in more) members[name] = { number(value) }
        val text = JsonWriter().obj { for ((name, write) in members) name(name).write() }.toString() + "\n"
        writeFile(store.resultFile(name), text.toByteArray(Charsets.US_ASCII))
    }
}

/** Calls [body]; a [Stop] inside becomes the event that ends the run. */
internal fun stoppable(
    savedStep: () -> Int,
    body: () -> RunEvent,
): RunEvent =
    try {
        body()
    } catch (stop: Stop) {
        RunEvent.Stopped(savedStep(), stop.failing)
    }
