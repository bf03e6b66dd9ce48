package org.pockettune.internal

import org.pockettune.Bundle
import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.StateTensor
import org.pockettune.elementsOf
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Path

/** The tensor that a bundle's training is about, and the metadata of a file that holds its views. */
internal class TrainedTensor(
    val tensor: StateTensor,
    val metadata: Map<String, String>,
)

/** The adapter of a bundle that makes pictures, or the parameters of one that classifies. */
internal fun trainedTensor(bundle: Bundle): TrainedTensor {
    val manifest = bundle.manifest
    val adapter = manifest.adapter
    if (adapter != null) return TrainedTensor(manifest.tensors.getValue(adapter.tensors), adapter.metadata)
    val name =
        manifest.classification?.parameters ?: throw PocketTuneException(
            ErrorCode.CONFIG_INVALID,
            "the bundle ${shown(manifest.name)} has neither an adapter nor parameters: use another bundle",
        )
    return TrainedTensor(manifest.tensors.getValue(name), emptyMap())
}

/**
 * Raises `tensor_mismatch` unless a file holds the views of a tensor, as float32 or float16, and nothing else.
 */
internal fun checkViews(
    file: SafetensorsFile,
    tensor: StateTensor,
) {
    for (view in tensor.views) file.require(view.name, dtypeOf(file, view.name), view.shape)
    if (file.header.entries.size == tensor.views.size) return
    throw PocketTuneException(
        ErrorCode.TENSOR_MISMATCH,
        "${shown("${file.path}")} has ${file.header.entries.size} tensors, the bundle takes ${tensor.views.size}: " +
            "use one made with this bundle",
    )
}

private fun dtypeOf(
    file: SafetensorsFile,
    name: String,
): DType = if (file.find(name)?.dtype == DType.FLOAT16) DType.FLOAT16 else DType.FLOAT32

/** Reads a file with the views of a tensor into [pack], the whole tensor's float32 bytes from position 0. */
internal fun readViews(
    path: Path,
    tensor: StateTensor,
    pack: ByteBuffer,
) = SafetensorsFile(path).use { file ->
    checkViews(file, tensor)
    for (view in tensor.views) {
        val dtype = dtypeOf(file, view.name)
        val entry = file.require(view.name, dtype, view.shape)
        val part = part(pack, view.offset, elementsOf(view.shape))
        if (dtype == DType.FLOAT32) {
            file.read(entry, part)
        } else {
            val halves = file.map(entry)
            while (halves.hasRemaining()) part.putFloat(fromHalf(halves.getShort()))
        }
    }
}

/** Writes a file with the views of a tensor, whose float32 bytes [pack] holds from position 0. */
internal fun writeViews(
    path: Path,
    tensor: StateTensor,
    pack: ByteBuffer,
    metadata: Map<String, String>,
) {
    val parts =
        tensor.views.map { TensorBytes(it.name, DType.FLOAT32, it.shape, part(pack, it.offset, elementsOf(it.shape))) }
    writeSafetensors(path, parts, metadata)
}

private fun part(
    pack: ByteBuffer,
    offset: Long,
    elements: Long,
): ByteBuffer {
    val part = pack.duplicate().order(ByteOrder.LITTLE_ENDIAN)
    val begin = Math.toIntExact(offset * Float.SIZE_BYTES)
    part.limit(begin + Math.toIntExact(elements * Float.SIZE_BYTES)).position(begin)
    return part
}
