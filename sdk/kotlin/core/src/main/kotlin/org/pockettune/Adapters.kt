package org.pockettune

import org.pockettune.internal.PlainFile
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.checkViews
import org.pockettune.internal.childrenOf
import org.pockettune.internal.copyFile
import org.pockettune.internal.makeFolder
import org.pockettune.internal.shown
import org.pockettune.internal.storage
import org.pockettune.internal.syncFolder
import org.pockettune.internal.trainedTensor
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.time.Instant

/** A kept adapter, or kept parameters. */
public data class KeptAdapter(
    /** Its name in the store. */
    public val name: String,
    /** The size of its file. */
    public val bytes: Long,
    /** When it was written. */
    public val time: Instant,
)

/**
 * The adapters and parameters that a [Store] keeps: safetensors files that other tools read, too. All of it works on
 * files: call it off the main thread.
 */
public class Adapters internal constructor(
    private val store: Store,
) {
    /** What is kept, by name. */
    public fun list(): List<KeptAdapter> =
        childrenOf(store.adaptersFolder)
            .filter { it.fileName.toString().endsWith(ENDING) && Files.isRegularFile(it, LinkOption.NOFOLLOW_LINKS) }
            .map {
                storage("read", it) {
                    KeptAdapter(
                        it.fileName.toString().removeSuffix(ENDING),
                        Files.size(it),
                        Files.getLastModifiedTime(it).toInstant(),
                    )
                }
            }

    /**
     * Writes a kept adapter to a file; one that is there is replaced.
     *
     * @param name its name in the store.
     * @param to the file.
     * @throws PocketTuneException `io_failed` when there is no such adapter or the file cannot be written, `disk_full`.
     */
    public fun export(
        name: String,
        to: Path,
    ) {
        PlainFile(existing(name)).use { copyFile(it, to) }
    }

    /**
     * Keeps an adapter from a file; a kept one of that name is replaced.
     *
     * @param name its name in the store from now on.
     * @param from the file: exactly the tensors of the bundle's adapter or parameters, float32 or float16.
     * @param bundle the bundle that it is for.
     * @throws PocketTuneException `tensor_mismatch` or `safetensors_invalid` when the file is no adapter of this bundle,
     *   `quota_exceeded`, `io_failed`, `disk_full`.
     */
    public fun import(
        name: String,
        from: Path,
        bundle: Bundle,
    ) {
        val target = store.adapterFile(name)
        SafetensorsFile(from).use {
            checkViews(it, trainedTensor(bundle).tensor)
            store.requireRoom(it.stamp.size)
            makeFolder(store.adaptersFolder)
            copyFile(it.file, target)
        }
    }

    /**
     * Removes a kept adapter.
     *
     * @throws PocketTuneException `io_failed` when there is none of that name, or it cannot be removed.
     */
    public fun delete(name: String) {
        val path = existing(name)
        storage("remove", path) { Files.delete(path) }
        syncFolder(store.adaptersFolder)
    }

    private fun existing(name: String): Path {
        val path = store.adapterFile(name)
        if (Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) return path
        throw PocketTuneException(
            ErrorCode.IO_FAILED,
            "there is no adapter ${shown(name)}: the store has ${list().joinToString { it.name }.ifEmpty { "none" }}",
        )
    }

    private companion object {
        const val ENDING = ".safetensors"
    }
}
