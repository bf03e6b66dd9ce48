package org.pockettune

import org.pockettune.internal.run.directBuffer
import java.nio.ByteBuffer

/** A picture of RGB bytes, row by row, three bytes a pixel. */
public class Picture(
    /** Columns. */
    public val width: Int,
    /** Rows. */
    public val height: Int,
    /** `3 * width * height` bytes; not copied. */
    public val rgb: ByteArray,
) {
    init {
        if (width < 1 || height < 1 || rgb.size.toLong() != 3L * width * height) {
            throw PocketTuneException(
                ErrorCode.PHOTOS_UNREADABLE,
                "${rgb.size} bytes are no picture of $width x $height pixels: give three bytes a pixel",
            )
        }
    }
}

/** A photo as a bundle takes it: float32 `[3, height, width]` in [-1, 1]. */
public class Pixels private constructor(
    internal val values: ByteBuffer,
    /** Rows. */
    public val height: Int,
    /** Columns. */
    public val width: Int,
) {
    /** Raises `tensor_mismatch` for another number of values, or one that is not within [-1, 1]; [values] are copied. */
    public constructor(values: FloatArray, height: Int, width: Int) : this(bufferOf(values), height, width) {
        if (values.size.toLong() != 3L * height * width) {
            throw PocketTuneException(ErrorCode.TENSOR_MISMATCH, "${values.size} values are no pixels of [3, $height, $width]")
        }
        if (!values.all { it in -1f..1f }) {
            throw PocketTuneException(ErrorCode.TENSOR_MISMATCH, "pixels hold a value that is not within [-1, 1]")
        }
    }

    /** Making pixels of pictures. */
    public companion object {
        private const val HALF_RANGE = 127.5

        /**
         * Crops a picture to its centered square and scales it by area averaging to the bundle's size.
         *
         * @throws PocketTuneException `config_invalid` when the bundle takes no photos.
         */
        @JvmStatic
        public fun of(
            picture: Picture,
            bundle: Bundle,
        ): Pixels {
            val size =
                bundle.manifest.image ?: throw PocketTuneException(
                    ErrorCode.CONFIG_INVALID,
                    "the bundle's task is '${bundle.manifest.task}': it takes no photos",
                )
            val side = minOf(picture.width, picture.height)
            val left = (picture.width - side) / 2
            val top = (picture.height - side) / 2
            val columns = spans(side, size.width)
            val rows = spans(side, size.height)
            val values = FloatArray(3 * size.height * size.width)
            var at = 0
            for (channel in 0 until 3) {
                for (row in rows) {
                    for (column in columns) {
                        val mean = average(picture, channel, left, top, column, row)
                        values[at++] = (mean / HALF_RANGE - 1).toFloat().coerceIn(-1f, 1f)
                    }
                }
            }
            return Pixels(values, size.height, size.width)
        }

        /** The part of a side that each of [count] new pixels covers. */
        private fun spans(
            side: Int,
            count: Int,
        ): List<ClosedFloatingPointRange<Double>> = List(count) { it.toDouble() * side / count..(it + 1.0) * side / count }

        private fun average(
            picture: Picture,
            channel: Int,
            left: Int,
            top: Int,
            columns: ClosedFloatingPointRange<Double>,
            rows: ClosedFloatingPointRange<Double>,
        ): Double {
            var sum = 0.0
            var area = 0.0
            for (y in rows.start.toInt()..lastOf(rows)) {
                val tall = minOf(rows.endInclusive, y + 1.0) - maxOf(rows.start, y.toDouble())
                for (x in columns.start.toInt()..lastOf(columns)) {
                    val wide = minOf(columns.endInclusive, x + 1.0) - maxOf(columns.start, x.toDouble())
                    val index = 3 * ((top + y) * picture.width + left + x) + channel
                    sum += tall * wide * (picture.rgb[index].toInt() and 0xff)
                    area += tall * wide
                }
            }
            return sum / area
        }

        private fun lastOf(span: ClosedFloatingPointRange<Double>): Int = kotlin.math.ceil(span.endInclusive).toInt() - 1

        private fun bufferOf(values: FloatArray): ByteBuffer {
            val buffer = directBuffer(values.size.toLong() * Float.SIZE_BYTES)
            buffer.asFloatBuffer().put(values)
            return buffer
        }
    }
}
