package org.pockettune.onnxruntime

import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import org.pockettune.Bundle
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.Session

/**
 * Runs programs with ONNX Runtime, by the Java classes that its Android library and its desktop jar share. Bundles for it
 * are exported with `--target onnxruntime`.
 *
 * @property threads threads that operators may use.
 */
public class OnnxRuntimeEngine(
    public val threads: Int = 1,
) : Engine {
    init {
        if (threads !in 1..MOST_THREADS) {
            throw PocketTuneException(ErrorCode.CONFIG_INVALID, "threads must be 1 to $MOST_THREADS, not $threads")
        }
    }

    override val id: String get() = "onnxruntime"

    override fun open(
        bundle: Bundle,
        program: String,
    ): Session {
        val description = bundle.program(program)
        val place =
            description.engines[id]
                ?: throw PocketTuneException(
                    ErrorCode.PROGRAM_MISSING,
                    "the bundle has '$program' for other engines only: export it for onnxruntime",
                )
        val path = bundle.file(place.file)
        val environment = engineCall("the runtime cannot start") { OrtEnvironment.getEnvironment() }
        requireVersion(environment.version)
        val session =
            engineCall("program '$program' cannot be loaded") {
                settings().use { environment.createSession("$path", it) }
            }
        try {
            bundle.file(place.file) // still the file that was verified, now that it is loaded
            return OnnxRuntimeSession(environment, session, program, description)
        } catch (failure: PocketTuneException) {
            session.close()
            throw failure
        }
    }

    private fun settings() =
        OrtSession.SessionOptions().apply {
            setIntraOpNumThreads(threads)
            setInterOpNumThreads(1)
            setDeterministicCompute(true) // a run that goes on has to end with the same bytes
            setMemoryPatternOptimization(false) // patterns take twice the memory and save no time
            setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR)
        }

    private companion object {
        const val MOST_THREADS = 64
    }
}

/** The first release, as major and minor version, with the operators and the format that bundles use (`spec/bundle.md` 3). */
private val oldest = listOf(1, 13)

/** Newer releases read what older ones read; raises `engine_version_mismatch` for one that is too old. */
internal fun requireVersion(version: String) {
    val (major, minor) = (version.split('.').mapNotNull(String::toIntOrNull) + listOf(0, 0)).take(2)
    if (major > oldest[0] || (major == oldest[0] && minor >= oldest[1])) return
    throw PocketTuneException(
        ErrorCode.ENGINE_VERSION_MISMATCH,
        "this app has ONNX Runtime $version, and bundles need ${oldest.joinToString(".")} or newer: update the app's dependency",
    )
}
