package org.pockettune.internal.run

import org.pockettune.Cache
import org.pockettune.ErrorCode
import org.pockettune.Manifest
import org.pockettune.PocketTuneException
import org.pockettune.Scope
import org.pockettune.internal.DurableFile
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.TensorEntry
import org.pockettune.internal.byCodePoints
import org.pockettune.internal.headerOf
import org.pockettune.internal.hex
import org.pockettune.internal.sha256Digest
import org.pockettune.internal.shown
import java.nio.ByteBuffer
import java.nio.file.Files
import java.nio.file.Path
import java.util.TreeMap

/** What programs hand to one another: one value for each cache and item, in the cache's stored type. */
internal interface CacheStore {
    fun read(
        cache: String,
        item: Long,
        stored: ByteBuffer,
    )

    fun write(
        cache: String,
        item: Long,
        stored: ByteBuffer,
    )
}

/** Values in memory, for making pictures. */
internal class MemoryCache : CacheStore {
    private val values = HashMap<String, HashMap<Long, ByteBuffer>>()

    override fun read(
        cache: String,
        item: Long,
        stored: ByteBuffer,
    ) {
        val value =
            values[cache]?.get(item) ?: throw PocketTuneException(
                ErrorCode.BUNDLE_MANIFEST_INVALID,
                "no program of the bundle fills the cache ${shown(cache)} before it is needed: export the bundle again",
            )
        copy(value, stored)
    }

    override fun write(
        cache: String,
        item: Long,
        stored: ByteBuffer,
    ) {
        val items = values.getOrPut(cache) { HashMap() }
        copy(stored, items.getOrPut(item) { directBuffer(stored.capacity().toLong()) })
    }
}

private const val DIGEST = "sha256"
private const val MOST_DIMENSIONS = 8
private const val PIECE = 1 shl 18
private const val LARGEST_CACHE = 1L shl 42

/** The tensors of a cache file: one `[items, ...]` for each cache, by name. Raises `config_invalid` for one too large. */
internal fun cacheEntries(
    manifest: Manifest,
    caches: Collection<String>,
    counts: Map<Scope, Long>,
): List<TensorEntry> {
    var end = 0L
    return caches.sortedWith(byCodePoints).map { name ->
        val cache: Cache = manifest.caches.getValue(name)
        val items = counts.getValue(cache.scope)
        if (cache.shape.size == MOST_DIMENSIONS) {
            throw PocketTuneException(
                ErrorCode.BUNDLE_MANIFEST_INVALID,
                "the cache ${shown(name)} has $MOST_DIMENSIONS dimensions, and its file needs one more: export the bundle again",
            )
        }
        if (items > LARGEST_CACHE / cache.storedBytes) {
            throw PocketTuneException(ErrorCode.CONFIG_INVALID, "the cache ${shown(name)} would be too large: use fewer samples")
        }
        val begin = end
        end += items * cache.storedBytes
        TensorEntry(name, cache.stored, listOf(items.toInt()) + cache.shape, begin, end)
    }
}

/**
 * Values in one file: a safetensors file with one tensor for each cache, whose metadata hold the identity of the run and
 * the data's hash. It is complete under its name, or absent.
 *
 * Opens a complete file of that identity; when there is none, or it is damaged, begins a new one. Raises `state_mismatch`
 * when it is whole but belongs to another run.
 */
internal class CacheFile(
    private val path: Path,
    entries: List<TensorEntry>,
    private val identity: Map<String, String>,
    onDamaged: (Path) -> Unit,
) : CacheStore,
    AutoCloseable {
    private val entries = entries.associateByTo(TreeMap(byCodePoints)) { it.name }
    private val dataBytes = entries.maxOfOrNull { it.end } ?: 0
    private var complete: SafetensorsFile? = openComplete(onDamaged)
    private var growing: DurableFile? = if (complete == null) DurableFile(path) else null
    private val dataBegin = header("0".repeat(64)).size.toLong()

    val isComplete: Boolean get() = complete != null

    init {
        try {
            growing?.append(header("0".repeat(64)))
        } catch (failure: PocketTuneException) {
            close()
            throw failure
        }
    }

    private fun header(digest: String) = headerOf(entries.values.toList(), identity + (DIGEST to digest))

    private fun openComplete(onDamaged: (Path) -> Unit): SafetensorsFile? {
        if (!Files.exists(path)) return null
        var opened: SafetensorsFile? = null
        try {
            val file = SafetensorsFile(path)
            opened = file
            if (file.metadata[DIGEST] == file.dataSha256()) {
                checkIdentity(file.metadata, identity, path)
                for (entry in entries.values) file.require(entry.name, entry.dtype, entry.shape)
                opened = null
                return file
            }
        } catch (failure: PocketTuneException) {
            // A damaged cache is made again: the same values come out.
            if (failure.code != ErrorCode.SAFETENSORS_INVALID) throw failure
        } finally {
            opened?.close()
        }
        onDamaged(path)
        return null
    }

    /** Ends the writing: hashes what was written, and gives the file its name. */
    fun finish() {
        val file = checkNotNull(growing)
        val digest = sha256Digest()
        val piece = ByteBuffer.allocate(PIECE)
        var at = 0L
        while (at < dataBytes) {
            piece.clear().limit(minOf(PIECE.toLong(), dataBytes - at).toInt())
            file.readAt(dataBegin + at, piece)
            at += piece.position()
            digest.update(piece.flip())
        }
        file.writeAt(0, ByteBuffer.wrap(header(digest.hex())))
        file.commit()
        growing = null
        complete = SafetensorsFile(path)
    }

    override fun read(
        cache: String,
        item: Long,
        stored: ByteBuffer,
    ) {
        stored.clear()
        val offset = offsetOf(cache, item, stored.remaining())
        val file = complete
        if (file != null) {
            file.read(checkNotNull(file.find(cache)), stored, offset)
        } else {
            checkNotNull(growing).readAt(dataBegin + entries.getValue(cache).begin + offset, stored)
        }
        stored.clear()
    }

    override fun write(
        cache: String,
        item: Long,
        stored: ByteBuffer,
    ) {
        stored.clear()
        val offset = offsetOf(cache, item, stored.remaining())
        checkNotNull(growing).writeAt(dataBegin + entries.getValue(cache).begin + offset, stored)
        stored.clear()
    }

    private fun offsetOf(
        cache: String,
        item: Long,
        bytes: Int,
    ): Long {
        val entry =
            entries[cache] ?: throw PocketTuneException(
                ErrorCode.BUNDLE_MANIFEST_INVALID,
                "no program in preparation fills the cache ${shown(cache)}: export the bundle again",
            )
        val offset = item * bytes
        check(offset in 0..entry.bytes - bytes) { "an item past the cache's end" }
        return offset
    }

    override fun close() {
        growing?.close()
        complete?.close()
    }
}
