package org.pockettune.android

import android.graphics.Bitmap
import org.pockettune.Bundle
import org.pockettune.Picture
import org.pockettune.Pixels

private const val BYTE = 0xff
private const val OPAQUE = 0xff shl 24

/** A photo as the bundle takes it: its centered square, scaled by area averaging. Transparency is laid on white. */
public fun Bitmap.toPixels(bundle: Bundle): Pixels = Pixels.of(toPicture(), bundle)

/** The bitmap's RGB bytes; transparency is laid on white. A hardware bitmap is copied first. */
public fun Bitmap.toPicture(): Picture {
    val readable = if (config == Bitmap.Config.HARDWARE) copy(Bitmap.Config.ARGB_8888, false) else this
    val row = IntArray(width)
    val rgb = ByteArray(3 * width * height)
    var at = 0
    for (y in 0 until height) {
        readable.getPixels(row, 0, width, 0, y, width, 1)
        for (color in row) {
            val alpha = color ushr 24
            for (shift in intArrayOf(16, 8, 0)) {
                val value = color shr shift and BYTE
                rgb[at++] = ((value * alpha + BYTE * (BYTE - alpha) + BYTE / 2) / BYTE).toByte()
            }
        }
    }
    return Picture(width, height, rgb)
}

/** The picture as a bitmap to show. */
public fun Picture.toBitmap(): Bitmap {
    val colors =
        IntArray(width * height) {
            val at = 3 * it
            OPAQUE or (rgb[at].toInt() and BYTE shl 16) or (rgb[at + 1].toInt() and BYTE shl 8) or (rgb[at + 2].toInt() and BYTE)
        }
    return Bitmap.createBitmap(colors, width, height, Bitmap.Config.ARGB_8888)
}
