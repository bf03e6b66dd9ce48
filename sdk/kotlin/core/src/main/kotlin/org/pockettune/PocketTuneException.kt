package org.pockettune

/**
 * The one error type of PocketTune.
 *
 * @property code what went wrong; the same in every language.
 * @param message one sentence: what happened, to what, and what to do.
 * @param cause what the platform said, when it said something.
 */
public class PocketTuneException(
    public val code: ErrorCode,
    message: String,
    cause: Throwable? = null,
) : RuntimeException("${code.id}: $message", cause)
