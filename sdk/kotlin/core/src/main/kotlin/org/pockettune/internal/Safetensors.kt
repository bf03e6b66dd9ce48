package org.pockettune.internal

import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Path

private const val MOST_DIMENSIONS = 8
private val entryMembers = setOf("dtype", "shape", "data_offsets")
private const val LARGEST_OFFSET = (1L shl 53) - 1
private const val LENGTH_BYTES = 8
private const val SPACE = ' '.code.toByte()

/** One tensor of a file; [begin] and [end] are bytes from the start of the data. */
internal class TensorEntry(
    val name: String,
    val dtype: DType,
    val shape: List<Int>,
    val begin: Long,
    val end: Long,
) {
    val bytes: Long get() = end - begin
}

/** What a file says about itself; the entries are in the order of the data. */
internal class SafetensorsHeader(
    val entries: List<TensorEntry>,
    val metadata: Map<String, String>,
)

/** A safetensors file that is open, its header checked as `spec/bundle.md` 7 says. Raises `safetensors_invalid`. */
internal class SafetensorsFile(
    path: Path,
) : AutoCloseable {
    val file: PlainFile = PlainFile(path)
    private val dataBegin: Long
    val header: SafetensorsHeader

    init {
        try {
            val length = if (file.size < LENGTH_BYTES) -1 else littleEndian(file.read(0, LENGTH_BYTES)).long
            if (length !in 0..minOf(LARGEST_JSON, file.size - LENGTH_BYTES)) {
                throw invalidSafetensors(path, "its header does not fit into it")
            }
            dataBegin = LENGTH_BYTES + length
            header = parseSafetensorsHeader(path, file.read(LENGTH_BYTES.toLong(), length.toInt()), file.size - dataBegin)
        } catch (failure: PocketTuneException) {
            file.close()
            throw failure
        }
    }

    private val byName = header.entries.associateBy { it.name }

    val path: Path get() = file.path
    val stamp: FileStamp get() = file.stamp
    val metadata: Map<String, String> get() = header.metadata

    fun find(name: String): TensorEntry? = byName[name]

    /** The tensor of that name; raises `tensor_mismatch` when it is missing or of another type or shape. */
    fun require(
        name: String,
        dtype: DType,
        shape: List<Int>,
    ): TensorEntry {
        val entry = find(name)
        if (entry != null && entry.dtype == dtype && entry.shape == shape) return entry
        val found = if (entry == null) "is missing" else "is ${entry.dtype.id} ${entry.shape}"
        throw PocketTuneException(
            ErrorCode.TENSOR_MISMATCH,
            "tensor ${shown(name)} of ${shown("$path")} $found: it must be ${dtype.id} $shape",
        )
    }

    /** Fills [into] with the bytes of a tensor, from byte [offset] of it on. */
    fun read(
        entry: TensorEntry,
        into: ByteBuffer,
        offset: Long = 0,
    ) {
        require(offset >= 0 && into.remaining() <= entry.bytes - offset) { "a read past a tensor's end" }
        file.read(dataBegin + entry.begin + offset, into)
    }

    /** A tensor's bytes as memory, read on demand; at most 2^31 - 1 of them. */
    fun map(entry: TensorEntry): ByteBuffer = file.map(dataBegin + entry.begin, entry.bytes).order(ByteOrder.LITTLE_ENDIAN)

    /** The SHA-256 of the data section. */
    fun dataSha256(): String = file.sha256From(dataBegin)

    /** The SHA-256 of the whole file. */
    fun fileSha256(): String = file.sha256From(0)

    override fun close() {
        file.close()
    }
}

private fun littleEndian(bytes: ByteArray): ByteBuffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)

private fun invalidSafetensors(
    path: Path,
    why: String,
) = PocketTuneException(
    ErrorCode.SAFETENSORS_INVALID,
    "${shown("$path")} is not a valid safetensors file ($why): write it again",
)

/** The header's text, checked against the [dataBytes] bytes that follow it; [path] is for the message. */
internal fun parseSafetensorsHeader(
    path: Path,
    text: ByteArray,
    dataBytes: Long,
): SafetensorsHeader =
    try {
        checkedHeader(text, dataBytes)
    } catch (fault: JsonFault) {
        throw invalidSafetensors(path, fault.message.orEmpty())
    }

private fun checkedHeader(
    text: ByteArray,
    dataBytes: Long,
): SafetensorsHeader {
    // Only spaces may follow the object, as in the format's own reference reader.
    val length = text.indexOfLast { it != SPACE } + 1
    if (length == 0 || text[0] != '{'.code.toByte() || text[length - 1] != '}'.code.toByte()) {
        throw JsonFault("its header is no object with spaces after it")
    }
    val json = parseJson(text, length) as JsonObject
    val metadata = json.members[METADATA]?.let(::parseMetadata).orEmpty()
    val entries =
        json.members.entries
            .filter { it.key != METADATA }
            .map { (name, value) -> parseEntry(name, value) }
            .sortedWith(compareBy({ it.begin }, { it.end }))
    var expected = 0L
    for (entry in entries) {
        if (entry.begin != expected) throw JsonFault("${shown(entry.name)} leaves a hole or overlaps")
        expected = entry.end
    }
    if (expected != dataBytes) throw JsonFault("its tensors take $expected bytes, and $dataBytes are there")
    return SafetensorsHeader(entries, metadata)
}

internal const val METADATA = "__metadata__"

private fun parseMetadata(value: JsonValue): Map<String, String> {
    val members = (value as? JsonObject ?: throw JsonFault("$METADATA is no object")).members
    return members.mapValues { (it.value as? JsonText ?: throw JsonFault("$METADATA holds something else than text")).value }
}

private fun parseEntry(
    name: String,
    value: JsonValue,
): TensorEntry {
    fun fail(why: String): Nothing = throw JsonFault("tensor ${shown(name)} $why")

    val members = (value as? JsonObject)?.members.orEmpty()
    if (members.keys != entryMembers) fail("has other members than dtype, shape, data_offsets")
    val type = (members.getValue("dtype") as? JsonText)?.value
    val dtype = DType.entries.find { it.safetensors == type } ?: fail("has none of the dtypes F32 F16 I64 I32 U8 I8")
    val shape = integers(members.getValue("shape"), 1..Int.MAX_VALUE.toLong())?.map(Long::toInt)
    if (shape == null || shape.size > MOST_DIMENSIONS) fail("has no valid shape")
    val offsets = integers(members.getValue("data_offsets"), 0..LARGEST_OFFSET)
    if (offsets?.size != 2) fail("has no valid data_offsets")
    val (begin, end) = offsets
    if (bytesOf(dtype, shape) != end - begin) fail("has offsets that do not fit its shape")
    return TensorEntry(name, dtype, shape, begin, end)
}

private fun integers(
    value: JsonValue,
    range: LongRange,
): List<Long>? {
    val items = (value as? JsonArray)?.items ?: return null
    return items.map { item -> (item as? JsonInteger)?.value?.takeIf { it in range } ?: return null }
}

/** Bytes of a tensor, or null when they are more than an offset can be. */
private fun bytesOf(
    dtype: DType,
    shape: List<Int>,
): Long? {
    var bytes = dtype.bytes.toLong()
    for (size in shape) {
        if (bytes > LARGEST_OFFSET / size) return null
        bytes *= size
    }
    return bytes
}
