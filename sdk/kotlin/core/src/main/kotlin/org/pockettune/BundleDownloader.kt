package org.pockettune

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.ProducerScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.flowOn
import okhttp3.HttpUrl
import okhttp3.HttpUrl.Companion.toHttpUrlOrNull
import okhttp3.OkHttpClient
import org.pockettune.internal.BundleAssembly
import org.pockettune.internal.FolderLock
import org.pockettune.internal.Http
import org.pockettune.internal.LARGEST_JSON
import org.pockettune.internal.parseManifest
import org.pockettune.internal.shown

/** What a download does; the last one is [Stopped] or [Finished]. */
public sealed interface DownloadEvent {
    /** So many bytes of the bundle's files are there. */
    public data class Progress(
        /** Bytes that are there, kept ones among them. */
        public val bytes: Long,
        /** Bytes of all files. */
        public val of: Long,
    ) : DownloadEvent

    /** The network is not as asked: nothing is lost, and a later download goes on. */
    public data class Stopped(
        /** The condition that failed. */
        public val failing: List<Failing>,
    ) : DownloadEvent

    /** The bundle is in the store. */
    public data class Finished(
        /** The bundle, verified. */
        public val bundle: Bundle,
    ) : DownloadEvent
}

/**
 * Fetches bundles into a store (`docs/sdk.md` 8). What is there already is not fetched again: whole bundles, files that
 * another bundle has, the beginning of a file whose download broke off.
 *
 * @param store where the bundles go.
 * @param client what talks to the network.
 */
public class BundleDownloader
    @JvmOverloads
    constructor(
        private val store: Store,
        private val client: OkHttpClient = OkHttpClient(),
    ) {
        /**
         * Fetches a bundle. The flow is cold: nothing happens before it is collected, and canceling the collector stops it.
         * One download works in a store at a time.
         *
         * @param base the address under which `manifest.json` and `files/` lie.
         * @param key whose signature the bundle must bear; null: none is looked at.
         * @param unmetered what says whether the network costs nothing by the byte, when the app asks for such a network:
         *   then nothing is fetched while that is false or unknown. Null: any network will do.
         * @return the events; it fails with `download_failed`, `quota_exceeded`, `disk_full`, `io_failed`, `config_invalid`
         *   for an address that is none, or what [Bundle.open] raises for the manifest.
         */
        @JvmOverloads
        public fun download(
            base: String,
            key: BundleKey? = null,
            unmetered: Sensors? = null,
        ): Flow<DownloadEvent> {
            val address =
                base.trimEnd('/').toHttpUrlOrNull() ?: throw PocketTuneException(
                    ErrorCode.CONFIG_INVALID,
                    "${shown(base)} is no address: give one that begins with http:// or https://",
                )
            return channelFlow {
                val failing = Download(address, key, unmetered, this).run()
                if (failing.isNotEmpty()) send(DownloadEvent.Stopped(failing))
            }.flowOn(Dispatchers.IO)
        }

        private inner class Download(
            private val base: HttpUrl,
            private val key: BundleKey?,
            private val sensors: Sensors?,
            private val events: ProducerScope<DownloadEvent>,
        ) {
            private val http = Http(client)

            /** Fetches all; gives what failed, or nothing when the bundle is there. */
            suspend fun run(): List<Failing> {
                failing().let { if (it.isNotEmpty()) return it }
                val text = http.get(base.newBuilder().addPathSegment("manifest.json").build(), LARGEST_JSON)
                val manifest = parseManifest(text, key)
                FolderLock(store.bundlesFolder).use {
                    val bundle = keptBundle(manifest.bundleId) ?: return fetch(BundleAssembly(store, manifest, text))
                    events.send(DownloadEvent.Finished(bundle))
                }
                return emptyList()
            }

            private fun keptBundle(id: String): Bundle? =
                try {
                    store.bundles.open(id, key)
                } catch (_: PocketTuneException) {
                    // Not there, damaged, or without the signature: it is made anew, of what can be kept.
                    null
                }

            private suspend fun fetch(assembly: BundleAssembly): List<Failing> {
                val total = assembly.manifest.files.values.sumOf { it.bytes }
                assembly.keepWhatIsThere()
                store.requireRoom(assembly.missingBytes())
                var done = total - assembly.missing().values.sumOf { it.bytes }
                events.send(DownloadEvent.Progress(done, total))
                for ((name, entry) in assembly.missing()) {
                    // Another name of a file that has just come.
                    if (assembly.keepElsewhere(name, entry)) {
                        done += entry.bytes
                        continue
                    }
                    var failing = failing()
                    if (failing.isNotEmpty()) return failing
                    val url = base.newBuilder().addPathSegment("files").addPathSegment(entry.sha256).build()
                    val whole =
                        http.fetch(url, assembly.part(entry), entry) { bytes ->
                            events.send(DownloadEvent.Progress(done + bytes, total))
                            failing = failing()
                            failing.isEmpty()
                        }
                    if (!whole) return failing
                    assembly.accept(name, entry)
                    done += entry.bytes
                }
                events.send(DownloadEvent.Finished(assembly.finish(key)))
                return emptyList()
            }

            private fun failing(): List<Failing> {
                val state = (sensors ?: return emptyList()).read()
                if (state.unmetered == true) return emptyList()
                return listOf(Failing(Condition.UNMETERED, if (state.unmetered == null) Reason.UNKNOWN else Reason.UNMET))
            }
        }
    }
