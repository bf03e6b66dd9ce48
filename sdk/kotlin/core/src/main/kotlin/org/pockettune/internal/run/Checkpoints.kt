package org.pockettune.internal.run

import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.TensorBytes
import org.pockettune.internal.childrenOf
import org.pockettune.internal.format
import org.pockettune.internal.hex
import org.pockettune.internal.sha256Digest
import org.pockettune.internal.shown
import org.pockettune.internal.storage
import org.pockettune.internal.writeSafetensors
import java.nio.file.Files
import java.nio.file.Path

/**
 * The states of a run in its work folder (`spec/runner.md`, personalize 3), byte for byte as the native runner writes them.
 *
 * @property identity everything that the result depends on.
 */
internal class Checkpoints(
    private val work: Path,
    private val identity: Map<String, String>,
    private val onDamaged: (Path) -> Unit,
) {
    /** Writes the state after [step] steps, reads it back, then removes older ones. */
    fun save(
        state: State,
        losses: Losses,
        step: Int,
    ) {
        val tensors = state.tensors() + TensorBytes("losses", DType.FLOAT32, listOf(losses.size), losses.bytes.whole())
        val digest = sha256Digest()
        for (tensor in tensors) digest.update(tensor.bytes.duplicate())
        val metadata =
            identity +
                mapOf(
                    "pockettune.state" to "1",
                    "step" to "$step",
                    "sha256" to digest.hex(),
                    "loss_first" to format(losses.meanOfFirst(step)),
                    "loss_last" to format(losses.meanOfLast(step)),
                )
        val path = work.resolve("state-%08d.safetensors".format(null, step))
        writeSafetensors(path, tensors, metadata)
        if (!SafetensorsFile(path).use { isWhole(it, step) }) {
            throw PocketTuneException(
                ErrorCode.IO_FAILED,
                "${shown("$path")} reads back as something else than was written: check the disk",
            )
        }
        removeStatesBefore(step)
    }

    /** Only after the state of [step] was read and found whole. */
    private fun removeStatesBefore(step: Int) {
        for ((other, file) in files()) if (other < step) storage("remove", file) { Files.deleteIfExists(file) }
    }

    /**
     * Loads the newest whole state into [state] and [losses]; gives its step, 0 when there is none. Damaged files are
     * passed over, since training again gives the same bytes; older ones are removed. Raises `state_mismatch` for one of another run,
     * `tensor_mismatch` for one with other tensors.
     */
    fun load(
        state: State,
        losses: Losses,
    ): Int =
        newest { file, step ->
            checkIdentity(file.metadata, identity, file.path)
            if (step !in 1..losses.size) return@newest false
            for (tensor in state.tensors()) {
                file.read(file.require(tensor.name, tensor.dtype, tensor.shape), state.now(tensor.name).whole())
            }
            file.read(file.require("losses", DType.FLOAT32, listOf(losses.size)), losses.bytes.whole())
            // A run that was killed between writing this state and removing those could not do it.
            removeStatesBefore(step)
            true
        }

    /** The step of the newest whole state, whatever run it is of; 0 when there is none. */
    fun savedStep(): Int = newest { _, _ -> true }

    /** The step of the newest whole state that [use] takes. */
    private inline fun newest(use: (SafetensorsFile, Int) -> Boolean): Int {
        for ((step, path) in files()) if (takes(path, step, use)) return step
        return 0
    }

    private inline fun takes(
        path: Path,
        step: Int,
        use: (SafetensorsFile, Int) -> Boolean,
    ): Boolean {
        try {
            SafetensorsFile(path).use { if (isWhole(it, step)) return use(it, step) }
        } catch (failure: PocketTuneException) {
            if (failure.code != ErrorCode.SAFETENSORS_INVALID) throw failure
        }
        onDamaged(path)
        return false
    }

    /** The states' files, newest first. */
    private fun files(): List<Pair<Int, Path>> =
        childrenOf(work)
            .mapNotNull { path -> name.matchEntire("${path.fileName}")?.let { it.groupValues[1].toIntOrNull() }?.to(path) }
            .sortedByDescending { it.first }

    private fun isWhole(
        file: SafetensorsFile,
        step: Int,
    ): Boolean {
        val metadata = file.metadata
        return metadata["pockettune.state"] == "1" && metadata["step"] == "$step" && metadata["sha256"] == file.dataSha256()
    }

    private companion object {
        val name = Regex("state-([0-9]+)\\.safetensors")
    }
}

/** The loss of every step, float32, in memory that a state file takes as it is. */
internal class Losses(
    val size: Int,
) {
    val bytes = directBuffer(size.toLong() * DType.FLOAT32.bytes)

    operator fun get(step: Int): Float = bytes.getFloat(step * DType.FLOAT32.bytes)

    operator fun set(
        step: Int,
        loss: Float,
    ) {
        bytes.putFloat(step * DType.FLOAT32.bytes, loss)
    }

    /** Mean of the first 20 of the [seen] losses, or of all when there are fewer. */
    fun meanOfFirst(seen: Int = size): Double = mean(0, minOf(AVERAGED, seen))

    /** Mean of the last 20 likewise. */
    fun meanOfLast(seen: Int = size): Double = mean(maxOf(0, seen - AVERAGED), seen)

    private fun mean(
        begin: Int,
        end: Int,
    ): Double {
        var sum = 0.0
        for (step in begin until end) sum += this[step].toDouble()
        return if (end > begin) sum / (end - begin) else 0.0
    }

    private companion object {
        const val AVERAGED = 20
    }
}
