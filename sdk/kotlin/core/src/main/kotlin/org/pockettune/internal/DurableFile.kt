package org.pockettune.internal

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.channels.FileLock
import java.nio.channels.OverlappingFileLockException
import java.nio.file.FileAlreadyExistsException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption.CREATE
import java.nio.file.StandardOpenOption.READ
import java.nio.file.StandardOpenOption.WRITE

private const val PIECE = 1 shl 18

/** The ending of a file that is not finished. */
internal const val PARTIAL = ".partial"

/** Moments of a durable write between which a process can die. */
internal enum class WritePoint { APPENDED, WRITTEN, SYNCED, RENAMED }

/** Called at each of these moments with the file's final name: tests let the process die there. */
internal var writeProbe: ((WritePoint, Path) -> Unit)? = null

/**
 * A new file, written under its name with `.partial` behind it; [commit] gives it its name, otherwise it goes away with
 * [close]. One writer at a time has a name: a second one gets `io_failed`. What a killed run left is taken over.
 */
internal class DurableFile(
    private val path: Path,
) : AutoCloseable {
    private val temporary = path.resolveSibling(path.fileName.toString() + PARTIAL)
    private val channel =
        storage("create", temporary) { FileChannel.open(temporary, READ, WRITE, CREATE, LinkOption.NOFOLLOW_LINKS) }
    private var end = 0L
    private var committed = false

    init {
        if (!lock(channel)) {
            channel.close()
            throw PocketTuneException(
                ErrorCode.IO_FAILED,
                "something else is writing ${shown("$path")}: wait for it, or use another name",
            )
        }
        storage("write", temporary) { channel.truncate(0) }
    }

    fun append(bytes: ByteBuffer) {
        end += writeAt(end, bytes)
        writeProbe?.invoke(WritePoint.APPENDED, path)
    }

    fun append(bytes: ByteArray) = append(ByteBuffer.wrap(bytes))

    /** Writes all that remains of [bytes] at a place of the file; gives their number. */
    fun writeAt(
        offset: Long,
        bytes: ByteBuffer,
    ): Int =
        storage("write", path) {
            val count = bytes.remaining()
            var at = offset
            while (bytes.hasRemaining()) at += channel.write(bytes, at)
            count
        }

    /** Fills [into] from a place of the file that was written. */
    fun readAt(
        offset: Long,
        into: ByteBuffer,
    ) = storage("read", temporary) {
        var at = offset
        while (into.hasRemaining()) {
            val got = channel.read(into, at)
            if (got < 0) throw IOException("it ended early")
            at += got
        }
    }

    /** Syncs the file, renames it over what bore its name, syncs the folder. */
    fun commit() {
        storage("write", path) {
            writeProbe?.invoke(WritePoint.WRITTEN, path)
            channel.force(true)
            writeProbe?.invoke(WritePoint.SYNCED, path)
            Files.move(temporary, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
        }
        committed = true
        writeProbe?.invoke(WritePoint.RENAMED, path)
        channel.close()
        syncFolder(folderOf(path))
    }

    override fun close() {
        if (committed) return
        // While the lock is held: afterwards it may be another's.
        try {
            Files.deleteIfExists(temporary)
        } catch (_: IOException) {
            // The failure that brought us here says more; what stays is taken over by the next writer.
        } finally {
            channel.close()
        }
    }
}

/** Takes the lock of an open file; false when another has it. A file system without locks has to do without. */
private fun lock(channel: FileChannel): Boolean =
    try {
        val lock: FileLock? = channel.tryLock()
        lock != null
    } catch (_: OverlappingFileLockException) {
        false
    } catch (_: IOException) {
        true
    }

/** A folder for one worker: `lock` in it is held until [close]. */
internal class FolderLock(
    folder: Path,
) : AutoCloseable {
    private val channel: FileChannel

    init {
        makeFolder(folder)
        val path = folder.resolve("lock")
        channel = storage("create", path) { FileChannel.open(path, WRITE, CREATE, LinkOption.NOFOLLOW_LINKS) }
        if (!lock(channel)) {
            channel.close()
            throw taken(folder)
        }
    }

    override fun close() {
        channel.close()
    }

    companion object {
        fun taken(folder: Path) =
            PocketTuneException(
                ErrorCode.IO_FAILED,
                "another run works in ${shown("$folder")}: wait for it, or use another name",
            )
    }
}

internal fun folderOf(path: Path): Path = path.toAbsolutePath().parent

/** Writes a small file so that its name never bears half of it. */
internal fun writeFile(
    path: Path,
    bytes: ByteArray,
) = DurableFile(path).use {
    it.append(bytes)
    it.commit()
}

/** Writes the bytes of an open file to another one. */
internal fun copyFile(
    from: PlainFile,
    to: Path,
) = DurableFile(to).use { file ->
    val piece = ByteBuffer.allocate(PIECE)
    var at = 0L
    while (at < from.size) {
        piece.clear().limit(minOf(PIECE.toLong(), from.size - at).toInt())
        from.read(at, piece)
        at += piece.position()
        piece.flip()
        file.append(piece)
    }
    file.commit()
}

/** Makes the names in a folder durable, as `fsync` does the bytes of a file. */
internal fun syncFolder(folder: Path) {
    storage("sync", folder) {
        FileChannel.open(folder, READ).use {
            try {
                it.force(true)
            } catch (error: IOException) {
                // Some file systems cannot sync a folder; there the rename is all that can be done.
                if ("Invalid argument" !in error.message.orEmpty()) throw error
            }
        }
    }
}

/** Creates the folder and its parents, durably. */
internal fun makeFolder(path: Path) {
    if (Files.isDirectory(path)) return
    val parent = folderOf(path)
    makeFolder(parent)
    storage("create the folder", path) {
        try {
            Files.createDirectory(path)
        } catch (error: FileAlreadyExistsException) {
            if (!Files.isDirectory(path)) throw error
        }
    }
    // A folder that is lost with the power takes along whatever was synced in it.
    syncFolder(parent)
}
