package org.pockettune.android

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import org.pockettune.ErrorCode
import org.pockettune.Picture
import org.pockettune.PocketTuneException
import java.io.IOException

/** This bitmap's colors; what is transparent shows white, as it does where photos are read from files. */
public fun Bitmap.toPicture(): Picture {
    // Bitmaps in the graphics processor's memory can't be read: copy them out of it.
    val readable = if (config == Bitmap.Config.HARDWARE) copy(Bitmap.Config.ARGB_8888, false) else this
    val rgb = ByteArray(CHANNELS * width * height)
    val row = IntArray(width)
    var at = 0
    for (y in 0 until height) {
        readable.getPixels(row, 0, width, 0, y, width, 1)
        for (color in row) {
            val alpha = color ushr ALPHA
            for (shift in RED downTo 0 step GREEN) {
                val value = color shr shift and BYTE
                rgb[at++] = ((value * alpha + BYTE * (BYTE - alpha) + BYTE / 2) / BYTE).toByte()
            }
        }
    }
    return Picture(width, height, rgb)
}

/** This picture as a bitmap to show. */
public fun Picture.toBitmap(): Bitmap {
    val colors =
        IntArray(width * height) {
            val at = CHANNELS * it
            OPAQUE or (byte(at) shl RED) or (byte(at + 1) shl GREEN) or byte(at + 2)
        }
    return Bitmap.createBitmap(colors, width, height, Bitmap.Config.ARGB_8888)
}

/**
 * Reads a photo that the user picked, turned upright. Large photos are made smaller while they are decoded, so that a
 * photo of 50 megapixels doesn't take its 200 MB.
 *
 * @param photo its address, from a picker; the app must still hold the permission to read it.
 * @param side the shorter side that is needed, in pixels; the photo's stays at least twice that, where it was.
 * @throws PocketTuneException `photos_unreadable` when there is none, it is no photo, or it may not be read.
 */
public fun readPhoto(
    resolver: ContentResolver,
    photo: Uri,
    side: Int,
): Picture {
    val source = ImageDecoder.createSource(resolver, photo)
    val bitmap =
        try {
            ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
                decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
                // Phones take photos in wider color spaces; models have learned from this one.
                decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
                decoder.setTargetSampleSize(maxOf(1, minOf(info.size.width, info.size.height) / (2 * maxOf(1, side))))
            }
        } catch (failure: IOException) {
            unreadable(photo, failure)
        } catch (failure: SecurityException) {
            unreadable(photo, failure)
        }
    return try {
        bitmap.toPicture()
    } finally {
        bitmap.recycle()
    }
}

private fun unreadable(
    photo: Uri,
    cause: Exception,
): Nothing = throw PocketTuneException(ErrorCode.PHOTOS_UNREADABLE, "$photo cannot be read as a photo: pick it again", cause)

private fun Picture.byte(index: Int): Int = rgb[index].toInt() and BYTE

private const val CHANNELS = 3
private const val ALPHA = 24
private const val RED = 16
private const val GREEN = 8
private const val BYTE = 0xff
private const val OPAQUE = 0xff shl ALPHA
