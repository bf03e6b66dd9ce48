package org.pockettune

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import org.pockettune.internal.FolderLock
import org.pockettune.internal.deleteTree
import org.pockettune.internal.firstFile
import org.pockettune.internal.foldersIn
import org.pockettune.internal.makeFolder
import org.pockettune.internal.shown
import org.pockettune.internal.syncFolder
import org.pockettune.internal.usedBytes
import java.nio.file.Files
import java.nio.file.Path

/**
 * The one folder of an app that holds everything that PocketTune keeps (`docs/sdk.md` 2). Make one for an app and share
 * it: a store knows only the runs that it was asked to make room for.
 *
 * @property root the folder; it is made when it is not there.
 * @property quotaBytes the most that everything under it may take; null: no bound.
 */
public class Store
    @JvmOverloads
    constructor(
        public val root: Path,
        public val quotaBytes: Long? = null,
    ) {
        /** The bundles that are kept. */
        public val bundles: Bundles = Bundles(this)

        /** The adapters and parameters that are kept. */
        public val adapters: Adapters = Adapters(this)

        private val active = HashMap<String, ActiveRun>()
        private var deleting = false

        init {
            if (quotaBytes != null && quotaBytes < 0) {
                throw PocketTuneException(ErrorCode.CONFIG_INVALID, "quotaBytes is $quotaBytes: it must be 0 or more")
            }
            makeFolder(root)
        }

        /** Bytes of everything under [root]; a file that several bundles share counts once. */
        public fun usedBytes(): Long = usedBytes(root)

        /**
         * Removes all runs and adapters, and looks again that nothing of them is left. A run of this store that is at work
         * is stopped first.
         *
         * @return what was removed.
         * @throws PocketTuneException `io_failed` when another process works on a run, or something could not be removed.
         */
        public suspend fun deletePersonalData(): Deleted =
            withContext(Dispatchers.IO) {
                val runs =
                    synchronized(active) {
                        deleting = true
                        active.values.toList()
                    }
                try {
                    runs.forEach { it.stop() }
                    runs.forEach { it.released.await() }
                    delete()
                } finally {
                    synchronized(active) { deleting = false }
                }
            }

        /** Raises `quota_exceeded` when so many more bytes would not fit. */
        internal fun requireRoom(bytes: Long) {
            val quota = quotaBytes ?: return
            val used = usedBytes()
            if (used <= quota && bytes <= quota - used) return
            throw PocketTuneException(
                ErrorCode.QUOTA_EXCEEDED,
                "$bytes more bytes do not fit: $used of $quota are taken; delete a bundle or an adapter, or raise quotaBytes",
            )
        }

        internal val bundlesFolder: Path get() = root.resolve("bundles")

        internal val adaptersFolder: Path get() = root.resolve("adapters")

        internal fun adapterFile(name: String): Path = adaptersFolder.resolve("${checkName(name)}.safetensors")

        internal fun resultFile(name: String): Path = runFolder(name).resolve("result.json")

        internal fun workFolder(name: String): Path = runFolder(name).resolve("work")

        internal fun runFolder(name: String): Path = runsFolder.resolve(checkName(name))

        private val runsFolder: Path get() = root.resolve("runs")

        /**
         * Takes the folder of a run for one worker, until the lock is closed; another one gets `io_failed`.
         *
         * @param stop asks the worker to end, without waiting; called when the data are to be deleted.
         */
        internal fun lockRun(
            name: String,
            stop: () -> Unit,
        ): RunLock {
            val folder = workFolder(name)
            synchronized(active) {
                if (deleting) {
                    throw PocketTuneException(ErrorCode.IO_FAILED, "personal data are being deleted: begin again afterwards")
                }
                // Before the file is touched: closing a second channel on it would let go of the first one's lock.
                if (name in active) throw FolderLock.taken(folder)
                val run = ActiveRun(stop)
                val lock = FolderLock(folder)
                active[name] = run
                return RunLock {
                    // In one, or a next run could find the name free and the folder still taken.
                    synchronized(active) {
                        lock.close()
                        active.remove(name)
                    }
                    run.released.complete(Unit)
                }
            }
        }

        private fun delete(): Deleted {
            val locks = ArrayList<FolderLock>()
            try {
                // Work of another process would be torn apart, so nothing goes while there is any.
                for (run in foldersIn(runsFolder)) {
                    val work = run.resolve("work")
                    if (Files.isDirectory(work)) locks.add(FolderLock(work))
                }
                val deleted = deleteTree(runsFolder) + deleteTree(adaptersFolder)
                syncFolder(root)
                for (folder in listOf(runsFolder, adaptersFolder)) {
                    firstFile(folder)?.let {
                        throw PocketTuneException(ErrorCode.IO_FAILED, "${shown("$it")} is still there: delete again")
                    }
                }
                return deleted
            } finally {
                locks.forEach { it.close() }
            }
        }
    }

/** What [Store.deletePersonalData] removed. */
public data class Deleted(
    /** The number of files. */
    public val files: Int,
    /** Their bytes. */
    public val bytes: Long,
) {
    internal operator fun plus(other: Deleted) = Deleted(files + other.files, bytes + other.bytes)
}

private class ActiveRun(
    val stop: () -> Unit,
) {
    val released = CompletableDeferred<Unit>()
}

/** The folder of a run that is held by one worker. */
internal class RunLock(
    private val release: () -> Unit,
) : AutoCloseable {
    override fun close() = release()
}

private val validName = Regex("[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

internal fun checkName(name: String): String {
    if (validName.matches(name)) return name
    throw PocketTuneException(
        ErrorCode.CONFIG_INVALID,
        "${shown(name)} is no name: use 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a point",
    )
}
