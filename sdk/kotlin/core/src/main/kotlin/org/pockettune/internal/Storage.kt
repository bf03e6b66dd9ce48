package org.pockettune.internal

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.io.IOException
import java.nio.file.FileSystemException
import java.nio.file.Path

// What the system says when no room is left: ENOSPC, EDQUOT, EFBIG. Java has no other way to tell.
private val full = listOf("No space left", "quota exceeded", "File too large")

/** Runs [body]; what the file system says becomes `disk_full` or `io_failed`, naming [path]. */
internal inline fun <Value> storage(
    action: String,
    path: Path,
    body: () -> Value,
): Value =
    try {
        body()
    } catch (error: IOException) {
        throw storageFailure(action, path, error)
    }

internal fun storageFailure(
    action: String,
    path: Path,
    error: IOException,
): PocketTuneException {
    val reason = (error as? FileSystemException)?.reason ?: error.message.orEmpty()
    if (full.any { it in reason }) {
        return PocketTuneException(
            ErrorCode.DISK_FULL,
            "no room left for ${shown("$path")}: free some space and do the same again",
            error,
        )
    }
    val why = reason.ifEmpty { error.javaClass.simpleName }
    return PocketTuneException(ErrorCode.IO_FAILED, "cannot $action ${shown("$path")}: $why", error)
}
