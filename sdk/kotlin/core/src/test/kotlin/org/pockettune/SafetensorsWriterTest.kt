package org.pockettune

import org.junit.jupiter.api.io.TempDir
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.TensorBytes
import org.pockettune.internal.byCodePoints
import org.pockettune.internal.inFileOrder
import org.pockettune.internal.safetensorsHeader
import org.pockettune.internal.sha256
import org.pockettune.internal.sha256OfSafetensors
import org.pockettune.internal.writeSafetensors
import java.nio.ByteBuffer
import java.nio.file.Path
import kotlin.io.path.readBytes
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals

class SafetensorsWriterTest {
    @TempDir
    lateinit var folder: Path

    private fun tensors(file: SafetensorsFile) = file.header.entries.map { TensorBytes(it.name, it.dtype, it.shape, file.map(it)) }

    @Test
    fun `files of the Python and native writers come out with the same bytes`() {
        for (name in listOf("every_dtype.safetensors", "no_tensors.safetensors", "bundle/state/adapter.safetensors")) {
            SafetensorsFile(vectors.resolve(name)).use { file ->
                val copy = folder.resolve("copy")
                val sorted = tensors(file).sortedWith(inFileOrder)
                writeSafetensors(copy, sorted, file.metadata)
                assertContentEquals(vectors.resolve(name).readBytes(), copy.readBytes())
                assertEquals(sha256(copy.readBytes()), sha256OfSafetensors(sorted, file.metadata))
            }
        }
    }

    @Test
    fun `names sort as their UTF-8 bytes do`() {
        val names = listOf("a", "__metadata__", "Z", "\uffee", "\ud83d\udc38", "", "ab", "a\u0301")
        val bytes = Comparator<String> { one, other -> one.toByteArray().toTypedArray().compareUnsigned(other.toByteArray()) }
        assertEquals(names.sortedWith(bytes), names.sortedWith(byCodePoints))
    }

    private fun Array<Byte>.compareUnsigned(other: ByteArray) = java.util.Arrays.compareUnsigned(toByteArray(), other)

    @Test
    fun `the header is sorted whatever the order of the data`() {
        val one = ByteBuffer.allocate(1)
        val given = listOf("b", "Z", "a").map { TensorBytes(it, DType.UINT8, listOf(1), one) }
        val header = safetensorsHeader(given, mapOf("k" to "v"))
        val expected =
            "{\"Z\":{\"data_offsets\":[1,2],\"dtype\":\"U8\",\"shape\":[1]},\"__metadata__\":{\"k\":\"v\"}," +
                "\"a\":{\"data_offsets\":[2,3],\"dtype\":\"U8\",\"shape\":[1]}," +
                "\"b\":{\"data_offsets\":[0,1],\"dtype\":\"U8\",\"shape\":[1]}}"
        assertEquals(expected, String(header, 8, header.size - 8).trimEnd())
        assertEquals(0, header.size % 8)
    }
}
