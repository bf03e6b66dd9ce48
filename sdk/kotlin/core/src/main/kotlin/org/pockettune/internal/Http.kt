package org.pockettune.internal

import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import okhttp3.Call
import okhttp3.HttpUrl
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response
import okio.BufferedSource
import org.pockettune.ErrorCode
import org.pockettune.FileEntry
import org.pockettune.PocketTuneException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.nio.file.StandardOpenOption.CREATE
import java.nio.file.StandardOpenOption.WRITE
import kotlin.coroutines.coroutineContext

private const val OK = 200
private const val PARTIAL_CONTENT = 206
private const val RANGE_NOT_SATISFIABLE = 416
private const val PIECE = 1 shl 16
private const val REPORTED = 1L shl 20

private fun downloadFailed(
    url: HttpUrl,
    why: String,
    cause: Throwable? = null,
) = PocketTuneException(ErrorCode.DOWNLOAD_FAILED, "${shown("$url")} $why: try again later", cause)

/** Requests that end when the coroutine that waits for them is canceled. Every failure of theirs is `download_failed`. */
internal class Http(
    private val client: OkHttpClient,
) {
    /** The body of an answer, which may have at most [limit] bytes. */
    suspend fun get(
        url: HttpUrl,
        limit: Long,
    ): ByteArray =
        answer(url, 0) { response ->
            if (response.code != OK) throw downloadFailed(url, "is answered with status ${response.code}")
            // One byte more tells a body that is too long from one that just fits.
            val source = response.body.source()
            if (source.request(limit + 1)) throw downloadFailed(url, "is longer than $limit bytes")
            source.readByteArray()
        }

    /**
     * Fetches a file into [part], after what is there already.
     *
     * @param progress is told the bytes that are there, about once for each 2^20; false stops.
     * @return whether [part] is the whole file, byte for byte as [entry] says.
     */
    suspend fun fetch(
        url: HttpUrl,
        part: Path,
        entry: FileEntry,
        progress: suspend (Long) -> Boolean,
    ): Boolean =
        storage("write", part) { FileChannel.open(part, WRITE, CREATE, LinkOption.NOFOLLOW_LINKS) }.use { file ->
            val there = storage("read", part) { file.size() }
            val transfer = Transfer(url, file, part, entry)
            val going = there == entry.bytes || answer(url, there) { transfer.receive(it, there, progress) }
            if (!going) return false
            storage("write", part) { file.force(true) }
            if (PlainFile(part).use { it.sha256From(0) } != entry.sha256) transfer.refuse("has other bytes than the manifest says")
            true
        }

    private suspend fun <Value> answer(
        url: HttpUrl,
        from: Long,
        use: suspend (Response) -> Value,
    ): Value {
        // Compressed on the way, a range would not be a range of the file.
        val request = Request.Builder().url(url).header("Accept-Encoding", "identity")
        if (from > 0) request.header("Range", "bytes=$from-")
        val call = client.newCall(request.build())
        try {
            return ending(call) { call.execute().use { use(it) } }
        } catch (error: IOException) {
            // A canceled call fails like a broken one.
            coroutineContext.ensureActive()
            throw downloadFailed(url, "cannot be fetched (${error.message ?: error.javaClass.simpleName})", error)
        }
    }

    /** Runs [body], which blocks on the call; a cancellation meanwhile ends the call. */
    private suspend fun <Value> ending(
        call: Call,
        body: suspend () -> Value,
    ): Value =
        coroutineScope {
            val watcher =
                launch {
                    try {
                        awaitCancellation()
                    } finally {
                        call.cancel()
                    }
                }
            body().also { watcher.cancelAndJoin() }
        }
}

/** One answer on its way into a file. */
private class Transfer(
    private val url: HttpUrl,
    private val file: FileChannel,
    private val part: Path,
    private val entry: FileEntry,
) {
    /** Writes the answer's body after the [there] bytes that were asked to be left out; false when [progress] stops it. */
    suspend fun receive(
        response: Response,
        there: Long,
        progress: suspend (Long) -> Boolean,
    ): Boolean {
        val begin =
            when (response.code) {
                OK -> 0 // The server sends all of it, whatever was asked.
                PARTIAL_CONTENT ->
                    if (rangeBegin(response) == there) there else refuse("sends another part than was asked for")
                RANGE_NOT_SATISFIABLE -> refuse("has fewer bytes than the manifest says")
                else -> throw downloadFailed(url, "is answered with status ${response.code}")
            }
        storage("write", part) { file.truncate(begin).position(begin) }
        return copy(response.body.source(), begin, progress)
    }

    private fun rangeBegin(response: Response): Long? =
        response.header("Content-Range")?.let { rangeForm.find(it)?.groupValues?.get(1)?.toLongOrNull() }

    private suspend fun copy(
        source: BufferedSource,
        begin: Long,
        progress: suspend (Long) -> Boolean,
    ): Boolean {
        val piece = ByteArray(PIECE)
        var at = begin
        var reported = begin
        while (true) {
            coroutineContext.ensureActive()
            val got = source.read(piece)
            if (got < 0) break
            if (got > entry.bytes - at) refuse("is longer than the manifest says")
            val bytes = ByteBuffer.wrap(piece, 0, got)
            storage("write", part) { while (bytes.hasRemaining()) file.write(bytes) }
            at += got
            if (at - reported >= REPORTED || at == entry.bytes) {
                reported = at
                if (!progress(at)) return false
            }
        }
        if (at != entry.bytes) throw downloadFailed(url, "ended after $at of ${entry.bytes} bytes")
        return true
    }

    /** What came is of no use: the next download begins anew. */
    fun refuse(why: String): Nothing {
        storage("remove", part) { Files.deleteIfExists(part) }
        throw downloadFailed(url, why)
    }

    private companion object {
        val rangeForm = Regex("^bytes (\\d{1,18})-")
    }
}
