package org.pockettune.internal.run

import org.pockettune.Bundle
import org.pockettune.Needs
import org.pockettune.Preflight
import kotlin.math.max

private const val PEAK = "peak_pss_bytes"
private const val SECONDS = "median_seconds"

// What a safetensors header takes at most for each of its entries, as far as an estimate goes.
private const val HEADER_BYTES = 1024L

/** The largest memory of the programs: measured, or their arena and weights and the state twice (`docs/sdk.md` 4). */
internal fun peakBytes(
    bundle: Bundle,
    programs: Collection<String>,
    stateBytes: Long,
): Long =
    programs.maxOf { name ->
        val budget = bundle.manifest.budget[name]
        val planned = (budget?.arenaBytes ?: 0) + (budget?.weightBytes ?: 0) + 2 * stateBytes
        max(0, budget?.measured?.get(PEAK)?.toLong() ?: planned)
    }

/** Steps times the measured seconds of one; null when nobody measured. */
internal fun expectedSeconds(
    bundle: Bundle,
    steps: Int,
): Double? =
    bundle.manifest.budget[bundle.manifest.training.program]
        ?.measured
        ?.get(SECONDS)
        ?.let { it * steps }

/** Bytes of one state file. */
internal fun checkpointBytes(
    bundle: Bundle,
    names: Set<String>,
    steps: Int,
): Long = stateBytes(bundle, names) + Float.SIZE_BYTES.toLong() * steps + HEADER_BYTES * (names.size + 1)

internal fun Surroundings.preflight(
    needs: Needs,
    expectedSeconds: Double?,
): Preflight {
    val failing = failingToStart(needs)
    return if (failing.isEmpty()) Preflight.Go(needs.memoryBytes, expectedSeconds) else Preflight.Blocked(failing)
}
