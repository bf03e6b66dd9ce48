package org.pockettune.internal

import org.pockettune.Deleted
import java.io.IOException
import java.nio.file.FileVisitResult
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.NoSuchFileException
import java.nio.file.Path
import java.nio.file.SimpleFileVisitor
import java.nio.file.attribute.BasicFileAttributes

/** The folders in a folder, links left out; none when it is not there. */
internal fun foldersIn(folder: Path): List<Path> = childrenOf(folder).filter { Files.isDirectory(it, LinkOption.NOFOLLOW_LINKS) }

/** What lies in a folder, by name; nothing when it is not there. */
internal fun childrenOf(folder: Path): List<Path> =
    storage("list", folder) {
        try {
            Files.newDirectoryStream(folder).use { it.sorted() }
        } catch (_: NoSuchFileException) {
            emptyList()
        }
    }

/** Bytes of all files under a folder; several names of one file count once. */
internal fun usedBytes(folder: Path): Long {
    val seen = HashSet<Any>()
    var bytes = 0L
    walk(folder, "measure") { _, attributes ->
        val key = attributes.fileKey()
        if (attributes.isRegularFile && (key == null || seen.add(key))) bytes += attributes.size()
    }
    return bytes
}

/** A file under a folder, or the folder itself when it is there; null when nothing is. */
internal fun firstFile(folder: Path): Path? {
    var found: Path? = null
    walk(folder, "look through") { path, _ -> found = found ?: path }
    return found ?: folder.takeIf { Files.exists(it, LinkOption.NOFOLLOW_LINKS) }
}

/** Removes a folder and everything in it; links are removed, not followed. Nothing happens when it is not there. */
internal fun deleteTree(folder: Path): Deleted {
    var files = 0
    var bytes = 0L
    walk(folder, "remove", Files::delete) { path, attributes ->
        Files.delete(path)
        files++
        bytes += attributes.size()
    }
    return Deleted(files, bytes)
}

private fun walk(
    folder: Path,
    action: String,
    afterFolder: (Path) -> Unit = {},
    onFile: (Path, BasicFileAttributes) -> Unit,
) = storage(action, folder) {
    val visitor =
        object : SimpleFileVisitor<Path>() {
            override fun visitFile(
                file: Path,
                attributes: BasicFileAttributes,
            ): FileVisitResult {
                onFile(file, attributes)
                return FileVisitResult.CONTINUE
            }

            override fun postVisitDirectory(
                folder: Path,
                error: IOException?,
            ): FileVisitResult {
                if (error != null) throw error
                afterFolder(folder)
                return FileVisitResult.CONTINUE
            }

            // What a run removes while we look is no failure.
            override fun visitFileFailed(
                file: Path,
                error: IOException,
            ): FileVisitResult = if (error is NoSuchFileException) FileVisitResult.CONTINUE else throw error
        }
    Files.walkFileTree(folder, visitor)
}
