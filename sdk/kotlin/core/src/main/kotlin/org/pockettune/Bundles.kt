package org.pockettune

import org.pockettune.internal.deleteTree
import org.pockettune.internal.foldersIn
import org.pockettune.internal.shown
import org.pockettune.internal.syncFolder
import java.nio.file.Files
import java.nio.file.Path

/** The bundles that a [Store] keeps. All of it works on files: call it off the main thread. */
public class Bundles internal constructor(
    private val store: Store,
) {
    /** The ids of the bundles that are kept. */
    public fun list(): List<String> = foldersIn(store.bundlesFolder).map { it.fileName.toString() }.filter(identifier::matches)

    /**
     * Opens a kept bundle and verifies every byte of it.
     *
     * @param id its id.
     * @param key whose signature it must bear; null: none is looked at.
     * @throws PocketTuneException what [Bundle.open] raises; `bundle_not_found` when it is not kept.
     */
    @JvmOverloads
    public fun open(
        id: String,
        key: BundleKey? = null,
    ): Bundle = Bundle.open(folder(id), key)

    /**
     * Removes a kept bundle. Files that other bundles share stay.
     *
     * @throws PocketTuneException `bundle_not_found` when it is not kept, `io_failed`.
     */
    public fun delete(id: String) {
        val folder = folder(id)
        if (!Files.isDirectory(folder)) {
            throw PocketTuneException(ErrorCode.BUNDLE_NOT_FOUND, "the store keeps no bundle ${shown(id)}")
        }
        deleteTree(folder)
        syncFolder(store.bundlesFolder)
    }

    internal fun folder(id: String): Path {
        if (identifier.matches(id)) return store.bundlesFolder.resolve(id)
        throw PocketTuneException(ErrorCode.CONFIG_INVALID, "${shown(id)} is no bundle's id: it has 64 hexadecimal digits")
    }

    private companion object {
        val identifier = Regex("[0-9a-f]{64}")
    }
}
