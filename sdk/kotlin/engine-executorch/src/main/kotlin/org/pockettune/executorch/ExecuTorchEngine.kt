package org.pockettune.executorch

import org.pockettune.Bundle
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.Session
import org.pytorch.executorch.Module

/**
 * Runs programs with ExecuTorch, by the classes of its official Android library.
 *
 * @property threads threads that operators may use.
 * @property version the runtime's version, like `1.5.1`, when the app knows it: the library does not tell. Bundles that
 *   were made for another one are refused then.
 */
public class ExecuTorchEngine(
    public val threads: Int = 1,
    public val version: String? = null,
) : Engine {
    init {
        if (threads !in 1..MOST_THREADS) {
            throw PocketTuneException(ErrorCode.CONFIG_INVALID, "threads must be 1 to $MOST_THREADS, not $threads")
        }
    }

    /** Its key in a program's `engines`. */
    override val id: String get() = "executorch"

    /** Loads a program from the bundle's file, mapped into memory. */
    override fun open(
        bundle: Bundle,
        program: String,
    ): Session {
        val description = bundle.program(program)
        val place =
            description.engines[id]
                ?: throw PocketTuneException(
                    ErrorCode.PROGRAM_MISSING,
                    "the bundle has '$program' for other engines only: export it for executorch",
                )
        version?.let { bundle.checkEngine(id, it) }
        val path = bundle.file(place.file)
        val module = engineCall("'${place.file}' cannot be opened") { Module.load("$path", Module.LOAD_MODE_MMAP, threads) }
        var session: Session? = null
        try {
            bundle.file(place.file) // still the file that was verified, now that it is mapped
            return ExecuTorchSession(module, place.method, program, description).also { session = it }
        } finally {
            if (session == null) module.destroy()
        }
    }

    private companion object {
        const val MOST_THREADS = 64
    }
}
