package org.pockettune.demo.model

import org.pockettune.Manifest
import java.util.Locale

/** What the phone says about the app's memory now; null is unknown. */
data class MemoryReading(
    /** This process' share of everything that is resident, from `Debug.MemoryInfo`. */
    val pss: Long?,
    /** Resident memory that is the process' own: it can't be given back. From `/proc/self/status`. */
    val anonymous: Long?,
    /** Resident pages of files, mapped weights among them: the system may drop them. */
    val mapped: Long?,
    /** The most that was ever resident. */
    val peak: Long?,
    /** What the phone has left before it ends processes. */
    val available: Long?,
)

/** One line of the memory page. */
data class MemoryLine(
    val name: String,
    val value: String,
)

/** What is in memory now. */
fun memoryLines(reading: MemoryReading): List<MemoryLine> =
    listOf(
        "in all (PSS)" to reading.pss,
        "the app's own (RssAnon)" to reading.anonymous,
        "files, weights among them (RssFile)" to reading.mapped,
        "most that was resident (VmHWM)" to reading.peak,
        "left on the phone" to reading.available,
    ).map { (name, bytes) -> MemoryLine(name, bytes?.let(::megabytes) ?: "unknown") }

/** What a bundle promises, by program. */
fun budgetLines(manifest: Manifest): List<MemoryLine> =
    manifest.budget.map { (program, budget) ->
        val planned = "${megabytes(budget.arenaBytes)} planned + ${megabytes(budget.weightBytes)} weights"
        val peak = budget.measured["peak_pss_bytes"]?.let { "; ${megabytes(it.toLong())} measured where it was made" }
        MemoryLine(program, planned + peak.orEmpty())
    }

/** The figures of Linux' `/proc/self/status` in bytes, by name: `RssAnon`, `VmHWM`. */
fun processFigures(status: String): Map<String, Long> =
    status
        .lineSequence()
        .mapNotNull { figure.matchEntire(it)?.destructured }
        .associate { (name, kibibytes) -> name to kibibytes.toLong() * KIBI }

/** In MB as phones count them, of 10^6 bytes. */
fun megabytes(bytes: Long): String = String.format(Locale.ROOT, if (bytes < SMALL) "%.1f MB" else "%.0f MB", bytes / MEGA)

private val figure = Regex("""(\w+):\s+(\d+) kB""")
private const val KIBI = 1024
private const val MEGA = 1e6
private const val SMALL = 10_000_000
