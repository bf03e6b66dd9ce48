package org.pockettune.internal

import org.pockettune.Bundle
import org.pockettune.BundleKey
import org.pockettune.FileEntry
import org.pockettune.Manifest
import org.pockettune.PocketTuneException
import org.pockettune.Store
import java.io.IOException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.nio.file.StandardCopyOption

/**
 * A bundle that comes into the store file by file, in a hidden folder beside the finished ones:
 *
 *     bundles/.partial/<sha256>            a file of which a part is there
 *     bundles/.partial/<bundle_id>/...     files that are whole
 *
 * Whoever uses it holds the lock of the folder `bundles`.
 */
internal class BundleAssembly(
    private val store: Store,
    val manifest: Manifest,
    private val text: ByteArray,
) {
    private val partial = store.bundlesFolder.resolve(PARTIAL)
    private val folder = partial.resolve(manifest.bundleId)

    /** Where the files of other bundles and of this one lie, by hash. */
    private val elsewhere = HashMap<String, MutableList<Path>>()
    private val missing = LinkedHashMap(manifest.files)

    /** What is not there yet, by name. */
    fun missing(): Map<String, FileEntry> = LinkedHashMap(missing)

    /** Bytes that are still to come, with what this and the manifest take. */
    fun missingBytes(): Long = missing.values.distinctBy { it.sha256 }.sumOf { it.bytes - sizeOf(part(it)) } + text.size

    fun part(entry: FileEntry): Path = partial.resolve(entry.sha256)

    /** Takes what an earlier download or another bundle left; removes what belongs to none. */
    fun keepWhatIsThere() {
        makeFolder(folder)
        val wanted = manifest.files.values.mapTo(HashSet()) { it.sha256 } + manifest.bundleId
        for (path in childrenOf(partial)) {
            if (path.fileName.toString() !in wanted) deleteTree(path)
        }
        for (other in foldersIn(store.bundlesFolder)) addFiles(other)
        for ((name, entry) in missing()) {
            val target = folder.resolve(name)
            if (isWhole(target, entry)) {
                found(name, entry)
            } else {
                storage("remove", target) { Files.deleteIfExists(target) }
                keepElsewhere(name, entry)
            }
        }
    }

    /** Takes a file of the same hash, linked where the system allows it; false when there is none. */
    fun keepElsewhere(
        name: String,
        entry: FileEntry,
    ): Boolean {
        val source = elsewhere[entry.sha256].orEmpty().find { isWhole(it, entry) } ?: return false
        val target = folder.resolve(name)
        makeFolder(folderOf(target))
        try {
            Files.createLink(target, source)
        } catch (_: UnsupportedOperationException) {
            copy(source, target)
        } catch (_: IOException) {
            // Android lets no app link files.
            copy(source, target)
        }
        found(name, entry)
        return true
    }

    /** Gives the part, which is whole and verified, its name. */
    fun accept(
        name: String,
        entry: FileEntry,
    ) {
        val target = folder.resolve(name)
        makeFolder(folderOf(target))
        storage("write", target) { Files.move(part(entry), target, StandardCopyOption.ATOMIC_MOVE) }
        syncFolder(folderOf(target))
        found(name, entry)
    }

    /** Verifies all of it and gives it its name in the store. */
    fun finish(key: BundleKey?): Bundle {
        writeFile(folder.resolve("manifest.json"), text)
        val bundle = Bundle.open(folder, key)
        val target = store.bundlesFolder.resolve(manifest.bundleId)
        // A damaged bundle of that name: it could not be opened.
        deleteTree(target)
        storage("write", target) { Files.move(folder, target, StandardCopyOption.ATOMIC_MOVE) }
        syncFolder(store.bundlesFolder)
        deleteTree(partial)
        return bundle.renamed(target)
    }

    private fun found(
        name: String,
        entry: FileEntry,
    ) {
        elsewhere.getOrPut(entry.sha256) { ArrayList() }.add(folder.resolve(name))
        missing.remove(name)
    }

    private fun addFiles(bundle: Path) {
        val other =
            try {
                parseManifest(Bundle.readManifest(bundle))
            } catch (_: PocketTuneException) {
                // No bundle, or a damaged one: nothing to take.
                return
            }
        for ((name, entry) in other.files) elsewhere.getOrPut(entry.sha256) { ArrayList() }.add(bundle.resolve(name))
    }

    private fun isWhole(
        path: Path,
        entry: FileEntry,
    ): Boolean = sizeOf(path) == entry.bytes && PlainFile(path).use { it.sha256From(0) } == entry.sha256

    private fun sizeOf(path: Path): Long =
        storage("read", path) {
            if (Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) Files.size(path) else 0
        }

    private fun copy(
        source: Path,
        target: Path,
    ) = PlainFile(source).use {
        store.requireRoom(it.size)
        copyFile(it, target)
    }
}
