package org.pockettune.internal

import org.pockettune.DType
import org.pockettune.elementsOf
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Path
import java.security.MessageDigest

private const val ALIGNMENT = 8

/** A tensor to be written; [bytes] are little-endian, from position to limit, which stay as they are. */
internal class TensorBytes(
    val name: String,
    val dtype: DType,
    val shape: List<Int>,
    val bytes: ByteBuffer,
) {
    init {
        require(bytes.remaining().toLong() == elementsOf(shape) * dtype.bytes) { "tensor $name has another size than its shape" }
    }
}

/** Wide types first, then names: the order of files that are not states. Every tensor lies aligned in it. */
internal val inFileOrder: Comparator<TensorBytes> =
    compareByDescending<TensorBytes> { it.dtype.bytes }.thenBy(byCodePoints) { it.name }

/** The header's length and the header, padded to 8 bytes; the data follow in the order given. */
internal fun safetensorsHeader(
    tensors: List<TensorBytes>,
    metadata: Map<String, String>,
): ByteArray {
    var end = 0L
    val entries =
        tensors.map {
            val begin = end
            end += it.bytes.remaining()
            TensorEntry(it.name, it.dtype, it.shape, begin, end)
        }
    return headerOf(entries, metadata)
}

/** The same for data that lie elsewhere. */
internal fun headerOf(
    entries: List<TensorEntry>,
    metadata: Map<String, String>,
): ByteArray {
    val sorted = entries.sortedWith(compareBy(byCodePoints) { it.name })
    val text =
        JsonWriter().obj {
            // "__metadata__" sorts among the tensors' names as any name does.
            val (before, after) = sorted.partition { byCodePoints.compare(it.name, METADATA) < 0 }
            before.forEach { writeEntry(it) }
            writeMetadata(metadata)
            after.forEach { writeEntry(it) }
        }.toString()
    val length = (text.length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
    val header = ByteBuffer.allocate(Long.SIZE_BYTES + length).order(ByteOrder.LITTLE_ENDIAN)
    header.putLong(length.toLong()).put(text.padEnd(length).toByteArray(Charsets.US_ASCII))
    return header.array()
}

private fun JsonWriter.writeMetadata(metadata: Map<String, String>) {
    if (metadata.isEmpty()) return
    name(METADATA).obj {
        for (key in metadata.keys.sortedWith(byCodePoints)) name(key).string(metadata.getValue(key))
    }
}

private fun JsonWriter.writeEntry(entry: TensorEntry) {
    name(entry.name).obj {
        name("data_offsets").array { number(entry.begin).number(entry.end) }
        name("dtype").string(entry.dtype.safetensors)
        name("shape").array { entry.shape.forEach { number(it.toLong()) } }
    }
}

/** Writes a file durably, the tensors in the order given. */
internal fun writeSafetensors(
    path: Path,
    tensors: List<TensorBytes>,
    metadata: Map<String, String>,
) = DurableFile(path).use { file ->
    file.append(safetensorsHeader(tensors, metadata))
    for (tensor in tensors) file.append(tensor.bytes.duplicate())
    file.commit()
}

/** The SHA-256 of what [writeSafetensors] would write. */
internal fun sha256OfSafetensors(
    tensors: List<TensorBytes>,
    metadata: Map<String, String>,
): String {
    val digest: MessageDigest = sha256Digest()
    digest.update(safetensorsHeader(tensors, metadata))
    for (tensor in tensors) digest.update(tensor.bytes.duplicate())
    return digest.hex()
}
