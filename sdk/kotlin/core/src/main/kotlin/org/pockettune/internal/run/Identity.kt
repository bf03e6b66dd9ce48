package org.pockettune.internal.run

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.internal.shown
import java.nio.file.Path

private const val LONGEST_VALUE = 24
private const val SHORTENED = 12
private val data = mapOf("bundle_id" to "the same bundle", "inputs_sha256" to "the same data", "state_sha256" to "the same parameters")

/**
 * Raises `state_mismatch` unless [found] has every setting of [wanted]; says which differ, what they were and are, and what
 * goes on with the saved run.
 */
internal fun checkIdentity(
    found: Map<String, String>,
    wanted: Map<String, String>,
    path: Path,
) {
    val differing = wanted.keys.sorted().filter { found[it] != wanted[it] }
    if (differing.isEmpty()) return
    val differences = differing.joinToString { "$it was ${shortened(found[it])} and is ${shortened(wanted[it])}" }
    // Samples that shrank with the steps will grow with them, too.
    val followed = "steps" in differing && wanted["samples"] == wanted["steps"]
    // What was not told cannot be what it was again.
    val remedies = differing.filterNot { it !in found || (it == "samples" && followed) }.map { data[it] ?: "$it ${found[it]}" }
    val goOn = if (remedies.isEmpty()) "" else "go on with ${remedies.joinToString()}, or "
    throw PocketTuneException(
        ErrorCode.STATE_MISMATCH,
        "${shown("$path")} is of another run: $differences; ${goOn}begin anew under another name",
    )
}

/** Digests are long, and their beginning tells them apart. */
private fun shortened(value: String?): String =
    when {
        value.isNullOrEmpty() -> "none"
        value.length > LONGEST_VALUE -> value.take(SHORTENED) + "..."
        else -> value
    }
