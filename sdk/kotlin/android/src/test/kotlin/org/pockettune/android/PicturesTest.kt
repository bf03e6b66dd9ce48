package org.pockettune.android

import android.graphics.Bitmap
import android.graphics.Color
import android.net.Uri
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.pockettune.ErrorCode
import org.pockettune.Picture
import org.pockettune.PocketTuneException
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import java.io.File
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

// As Android 14 only: the Android 15 of Robolectric 4.17 has no decoder that reads from a file descriptor.
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], manifest = Config.NONE)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class PicturesTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val resolver = RuntimeEnvironment.getApplication().contentResolver

    @Test
    fun `colors come in the order of a picture's bytes`() {
        val bitmap =
            Bitmap.createBitmap(
                intArrayOf(Color.RED, Color.GREEN, Color.BLUE, Color.rgb(1, 2, 250)),
                2,
                2,
                Bitmap.Config.ARGB_8888,
            )
        val expected = listOf(255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 250).map { it.toByte() }
        assertEquals(expected, bitmap.toPicture().rgb.toList())
    }

    @Test
    fun `what is transparent shows white`() {
        val colors = intArrayOf(Color.argb(0, 9, 9, 9), Color.argb(127, 0, 0, 0))
        val rgb = Bitmap.createBitmap(colors, 2, 1, Bitmap.Config.ARGB_8888).toPicture().rgb.map { it.toInt() and 0xff }
        assertEquals(listOf(255, 255, 255, 128, 128, 128), rgb)
    }

    @Test
    fun `a picture shown and read again is the same`() {
        val picture = Picture(16, 16, ByteArray(3 * 256) { (it % 256).toByte() })
        assertContentEquals(picture.rgb, picture.toBitmap().toPicture().rgb)
    }

    @Test
    fun `a photo is read from where the user picked it`() {
        val file = photo(40, 30) { x, _ -> if (x < 20) Color.RED else Color.BLUE }
        val picture = readPhoto(resolver, Uri.fromFile(file), side = 30)
        assertEquals(40 to 30, picture.width to picture.height)
        assertEquals(listOf(-1, 0, 0), picture.rgb.take(3).map { it.toInt() })
        assertEquals(listOf(0, 0, -1), picture.rgb.takeLast(3).map { it.toInt() })
    }

    @Test
    fun `a large photo is read smaller, but never below twice what is needed`() {
        val file = photo(400, 300) { _, _ -> Color.GRAY }
        val picture = readPhoto(resolver, Uri.fromFile(file), side = 64)
        assertEquals(200 to 150, picture.width to picture.height)
    }

    @Test
    fun `what is no photo or not there is told`() {
        val text = folder.newFile("text.png").apply { writeText("no photo") }
        for (file in listOf(text, File(folder.root, "missing.png"))) {
            val failure = assertFailsWith<PocketTuneException> { readPhoto(resolver, Uri.fromFile(file), side = 64) }
            assertEquals(ErrorCode.PHOTOS_UNREADABLE, failure.code)
        }
    }

    private fun photo(
        width: Int,
        height: Int,
        color: (Int, Int) -> Int,
    ): File {
        val bitmap = Bitmap.createBitmap(IntArray(width * height) { color(it % width, it / width) }, width, height, Bitmap.Config.ARGB_8888)
        return folder.newFile("photo.png").apply { outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) } }
    }
}
