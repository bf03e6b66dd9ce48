package org.pockettune.internal.run

import java.io.File
import java.io.IOException
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.math.max

private const val KIBIBYTE = 1024L
private const val SHORTEST_PAUSE = 50_000_000L
private const val PAUSE_PER_SAMPLE = 20

/**
 * The process's memory while a run works, as the native runner samples it: every 50 ms, or every 20 times as long as a
 * sample takes, whichever is longer. Zeros where the system does not tell.
 */
internal class ProcessMemory : AutoCloseable {
    private val closed = CountDownLatch(1)
    private val thread = Thread(::watch, "pockettune-memory").apply { isDaemon = true }

    @Volatile
    private var peak = 0L

    init {
        thread.start()
    }

    /** The largest proportional set that was seen. */
    fun peakPssBytes(): Long {
        sample()
        return peak
    }

    /** The largest resident set of the process so far, which the system keeps. */
    fun peakRssBytes(): Long = bytesOf("status", "VmHWM")

    private fun watch() {
        var pause: Long
        do {
            val begin = System.nanoTime()
            sample()
            pause = max(SHORTEST_PAUSE, PAUSE_PER_SAMPLE * (System.nanoTime() - begin))
        } while (!closed.await(pause, TimeUnit.NANOSECONDS))
    }

    @Synchronized
    private fun sample() {
        peak = max(peak, bytesOf("smaps_rollup", "Pss"))
    }

    private fun bytesOf(
        file: String,
        line: String,
    ): Long =
        try {
            val text = File("/proc/self/$file").useLines { lines -> lines.find { it.startsWith("$line:") } }
            text?.filter(Char::isDigit)?.toLongOrNull()?.times(KIBIBYTE) ?: 0
        } catch (_: IOException) {
            0
        }

    override fun close() {
        closed.countDown()
    }
}
