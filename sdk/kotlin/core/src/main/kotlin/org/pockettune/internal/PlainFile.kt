package org.pockettune.internal

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardOpenOption
import java.nio.file.attribute.BasicFileAttributes
import java.nio.file.attribute.FileTime

private const val PIECE = 1 shl 18

/**
 * What changes when a file is replaced or written to, as far as the file system tells. The time of its last change of
 * status is left out: linking a file into another bundle of the store changes it, too.
 */
internal data class FileStamp(
    val key: Any?,
    val size: Long,
    val modified: FileTime,
)

/**
 * A plain file that is open for reading. Raises `io_failed`, also for anything that is no plain file: opening a named
 * pipe would wait for its writer, forever.
 */
internal class PlainFile(
    val path: Path,
) : AutoCloseable {
    val stamp: FileStamp = storage("open", path) { stampOf(path) }
    private val channel: FileChannel = storage("open", path) { FileChannel.open(path, StandardOpenOption.READ) }

    val size: Long get() = stamp.size

    /** Fills [into] from byte [offset] on. */
    fun read(
        offset: Long,
        into: ByteBuffer,
    ) {
        storage("read", path) {
            var at = offset
            while (into.hasRemaining()) {
                val got = channel.read(into, at)
                if (got < 0) throw IOException("it ended early: something else changed it")
                at += got
            }
        }
    }

    fun read(
        offset: Long,
        bytes: Int,
    ): ByteArray = ByteArray(bytes).also { read(offset, ByteBuffer.wrap(it)) }

    /** The SHA-256 of the bytes from [offset] to the end. */
    fun sha256From(offset: Long): String {
        val digest = sha256Digest()
        val piece = ByteBuffer.allocate(PIECE)
        var at = offset
        while (at < size) {
            piece.clear().limit(minOf(PIECE.toLong(), size - at).toInt())
            read(at, piece)
            at += piece.position()
            digest.update(piece.flip())
        }
        return digest.hex()
    }

    /** Bytes of the file as memory, read on demand; they stay readable after [close]. */
    fun map(
        offset: Long,
        bytes: Long,
    ): MappedByteBuffer = storage("map", path) { channel.map(FileChannel.MapMode.READ_ONLY, offset, bytes) }

    override fun close() {
        channel.close()
    }
}

private fun stampOf(path: Path): FileStamp {
    val attributes = Files.readAttributes(path, BasicFileAttributes::class.java)
    if (!attributes.isRegularFile) {
        throw PocketTuneException(ErrorCode.IO_FAILED, "${shown("$path")} is not a plain file")
    }
    return FileStamp(attributes.fileKey(), attributes.size(), attributes.lastModifiedTime())
}
