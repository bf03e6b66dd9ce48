package org.pockettune.demo

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.withContext
import org.pockettune.Bundle
import org.pockettune.BundleDownloader
import org.pockettune.DownloadEvent
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.demo.model.BundleSource
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption

/** The bundles of one kind: out of the app's assets, or out of the store where a download put them. */
class StoreBundles(
    private val app: DemoApplication,
    private val kind: String,
) : BundleSource<Bundle> {
    private val copied: Path =
        app.filesDir
            .toPath()
            .resolve("assets")
            .resolve(kind)

    override suspend fun kept(): Bundle? =
        withContext(Dispatchers.IO) {
            val id = app.memory.getString(kind, null)
            when {
                id in app.store.bundles.list() -> app.store.bundles.open(checkNotNull(id))
                Files.exists(copied) -> Bundle.open(copied)
                else -> null
            }
        }

    override suspend fun fromApp(): Bundle =
        withContext(Dispatchers.IO) {
            if (app.assets.list("$ASSETS/$kind").isNullOrEmpty()) {
                throw PocketTuneException(
                    ErrorCode.BUNDLE_NOT_FOUND,
                    "this build of the app holds no bundle '$kind': make one with android_demo/tools/make_assets.py",
                )
            }
            try {
                // Programs are mapped into memory, which needs files: assets lie inside the app's archive.
                if (!Files.exists(copied)) copyAll()
            } catch (failure: IOException) {
                throw PocketTuneException(ErrorCode.IO_FAILED, "bundle '$kind' cannot be copied: free some room", failure)
            }
            app.memory
                .edit()
                .remove(kind)
                .apply()
            Bundle.open(copied)
        }

    override fun download(address: String): Flow<DownloadEvent> = BundleDownloader(app.store).download(address, unmetered = app.sensors)

    override suspend fun take(event: DownloadEvent.Finished): Bundle {
        app.memory
            .edit()
            .putString(kind, event.bundle.id)
            .apply()
        return event.bundle
    }

    private fun copyAll() {
        val partial = copied.resolveSibling("$kind.partial")
        copy("$ASSETS/$kind", partial)
        Files.move(partial, copied, StandardCopyOption.ATOMIC_MOVE)
    }

    private fun copy(
        asset: String,
        to: Path,
    ) {
        val children = app.assets.list(asset).orEmpty()
        if (children.isEmpty()) {
            app.assets.open(asset).use { Files.copy(it, to, StandardCopyOption.REPLACE_EXISTING) }
        } else {
            Files.createDirectories(to)
            children.forEach { copy("$asset/$it", to.resolve(it)) }
        }
    }

    private companion object {
        const val ASSETS = "bundles"
    }
}
