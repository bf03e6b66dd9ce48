package org.pockettune

import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.run.directBuffer
import org.pockettune.internal.run.whole
import org.pockettune.internal.shown
import java.nio.ByteBuffer
import java.nio.file.Path

/**
 * Labeled examples of a classifier.
 *
 * @param inputs float32 `[n, ...input_shape]`, row-major; copied.
 * @param labels the class of each example, 0 to `classes - 1`; copied.
 */
public class Examples private constructor(
    internal val inputs: ByteBuffer,
    internal val labels: LongArray,
) {
    public constructor(inputs: FloatArray, labels: IntArray) :
        this(bufferOf(inputs), LongArray(labels.size) { labels[it].toLong() })

    /** The number of examples. */
    public val count: Int get() = labels.size

    /** Reading. */
    public companion object {
        /**
         * Reads the native runner's inputs: a safetensors file with `inputs` float32 `[n, ...]` and `labels` int64 `[n]`.
         *
         * @throws PocketTuneException `io_failed`, `safetensors_invalid`, `tensor_mismatch`.
         */
        @JvmStatic
        public fun read(path: Path): Examples =
            SafetensorsFile(path).use { file ->
                val rows = file.find("labels")?.shape?.singleOrNull() ?: mismatch(path, "has no int64 tensor 'labels' [n]")
                val found = file.find("inputs") ?: mismatch(path, "has no float32 tensor 'inputs'")
                if (found.shape.firstOrNull() != rows) mismatch(path, "has another number of inputs than of labels")
                val labels = file.map(file.require("labels", DType.INT64, listOf(rows)))
                val inputs = directBuffer(found.bytes)
                file.read(file.require("inputs", DType.FLOAT32, found.shape), inputs.whole())
                Examples(inputs, LongArray(rows) { labels.getLong(it * Long.SIZE_BYTES) })
            }

        private fun mismatch(
            path: Path,
            why: String,
        ): Nothing = throw PocketTuneException(ErrorCode.TENSOR_MISMATCH, "${shown("$path")} $why: write it again")

        private fun bufferOf(values: FloatArray): ByteBuffer {
            val buffer = directBuffer(values.size.toLong() * Float.SIZE_BYTES)
            buffer.asFloatBuffer().put(values)
            return buffer
        }
    }
}
