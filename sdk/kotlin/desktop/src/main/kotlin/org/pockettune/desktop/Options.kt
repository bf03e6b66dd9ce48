package org.pockettune.desktop

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.nio.file.Path

/** `--name value` pairs. Raises `usage`. */
internal class Options(
    words: List<String>,
) {
    private val values: Map<String, String> =
        words.chunked(2).associate { pair ->
            if (pair.size != 2 || !pair[0].startsWith("--")) fail("give '--name value', not '${pair.joinToString(" ")}'")
            pair[0].drop(2) to pair[1]
        }

    fun text(name: String): String? = values[name]

    fun required(name: String): String = text(name) ?: fail("--$name is missing")

    fun path(name: String): Path = Path.of(required(name))

    fun real(name: String): Double? = text(name)?.let { it.toDoubleOrNull() ?: fail("--$name takes a number, not '$it'") }

    /** An unsigned 64-bit integer. */
    fun seed(): Long = text("seed")?.let { it.toULongOrNull()?.toLong() ?: fail("--seed takes a whole number, not '$it'") } ?: 0

    fun whole(name: String): Int? = text(name)?.let { it.toIntOrNull() ?: fail("--$name takes a whole number, not '$it'") }

    private fun fail(why: String): Nothing = throw PocketTuneException(ErrorCode.USAGE, why)
}
