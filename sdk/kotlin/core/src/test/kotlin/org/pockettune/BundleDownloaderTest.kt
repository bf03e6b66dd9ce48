package org.pockettune

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import mockwebserver3.Dispatcher
import mockwebserver3.MockResponse
import mockwebserver3.MockWebServer
import mockwebserver3.RecordedRequest
import mockwebserver3.SocketEffect
import okio.Buffer
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.io.TempDir
import org.pockettune.internal.sha256
import java.nio.file.Files
import java.nio.file.Path
import java.util.Base64
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.io.path.createDirectories
import kotlin.io.path.exists
import kotlin.io.path.readBytes
import kotlin.io.path.writeBytes
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** A server on this machine hands out the golden bundle, well and badly. */
class BundleDownloaderTest {
    @TempDir
    lateinit var folder: Path

    private val source = vectors.resolve("bundle_signed")
    private val bundle = Bundle.open(source)
    private val largest = bundle.manifest.files.entries.maxBy { it.value.bytes }
    private val total = bundle.manifest.files.values.sumOf { it.bytes }
    private val server = MockWebServer()
    private val requests = CopyOnWriteArrayList<RecordedRequest>()

    /** What the server does with a file other than sending it; null: it sends it. */
    private var trick: (String, ByteArray) -> MockResponse? = { _, _ -> null }

    private val store by lazy { Store(folder.resolve("store")) }
    private val base by lazy { server.url("/here/").toString() }

    @BeforeEach
    fun start() {
        server.dispatcher =
            object : Dispatcher() {
                override fun dispatch(request: RecordedRequest): MockResponse {
                    requests.add(request)
                    return answer(request)
                }
            }
        server.start()
    }

    @AfterEach
    fun stop() = server.close()

    private fun answer(request: RecordedRequest): MockResponse {
        val path = request.url.encodedPath
        if (path == "/here/manifest.json") {
            val text = source.resolve("manifest.json").readBytes()
            return trick("manifest.json", text) ?: ok(text)
        }
        val name = bundle.manifest.files.entries.find { path == "/here/files/${it.value.sha256}" }?.key
        val bytes = source.resolve(name ?: return MockResponse(code = 404)).readBytes()
        trick(name, bytes)?.let { return it }
        val begin = request.headers["Range"]?.removePrefix("bytes=")?.removeSuffix("-")?.toInt() ?: return ok(bytes)
        return MockResponse.Builder()
            .code(206)
            .addHeader("Content-Range", "bytes $begin-${bytes.size - 1}/${bytes.size}")
            .body(Buffer().write(bytes, begin, bytes.size - begin))
            .build()
    }

    private fun ok(bytes: ByteArray) = MockResponse.Builder().body(Buffer().write(bytes)).build()

    private fun download(
        key: BundleKey? = null,
        unmetered: Sensors? = null,
        store: Store = this.store,
    ): List<DownloadEvent> = runBlocking { BundleDownloader(store).download(base, key, unmetered).toList() }

    private fun code(body: () -> Unit): ErrorCode = assertFailsWith<PocketTuneException> { body() }.code

    private fun fileRequests() = requests.filter { "/files/" in it.url.encodedPath }

    /** A part as a broken download leaves it. */
    private fun leavePart(bytes: ByteArray) {
        val partial = store.bundlesFolder.resolve(".partial").createDirectories()
        partial.resolve(largest.value.sha256).writeBytes(bytes)
    }

    private fun assertNothingFinished() {
        assertEquals(emptyList(), store.bundles.list())
        assertFalse(store.bundlesFolder.resolve(bundle.id).exists())
    }

    @Test
    fun `a bundle comes whole, and is not fetched twice`() {
        val events = download()
        val finished = assertIs<DownloadEvent.Finished>(events.last())
        assertEquals(bundle.manifest, finished.bundle.manifest)
        assertEquals(store.bundlesFolder.resolve(bundle.id), finished.bundle.folder)
        assertEquals(DownloadEvent.Progress(total, total), events.dropLast(1).last())
        for (name in bundle.manifest.files.keys) {
            assertContentEquals(source.resolve(name).readBytes(), finished.bundle.file(name).readBytes())
        }
        assertEquals(listOf(bundle.id), store.bundles.list())
        assertFalse(store.bundlesFolder.resolve(".partial").exists())
        val before = fileRequests().size
        assertIs<DownloadEvent.Finished>(download().single())
        assertEquals(before, fileRequests().size)
        store.bundles.delete(bundle.id)
        assertNothingFinished()
    }

    @Test
    fun `what is there of a file is not fetched again`() {
        val bytes = source.resolve(largest.key).readBytes()
        leavePart(bytes.copyOf(bytes.size / 2))
        assertIs<DownloadEvent.Finished>(download().last())
        assertEquals("bytes=${bytes.size / 2}-", fileRequests().single { largest.value.sha256 in it.url.encodedPath }.headers["Range"])
    }

    @Test
    fun `a cut connection keeps its part, and the next download goes on`() {
        trick = { name, bytes ->
            if (name == largest.key) {
                MockResponse.Builder().body(Buffer().write(bytes)).onResponseBody(SocketEffect.CloseSocket()).build()
            } else {
                null
            }
        }
        assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
        assertNothingFinished()
        trick = { _, _ -> null }
        requests.clear()
        assertIs<DownloadEvent.Finished>(download().last())
        val asked = fileRequests().map { it.url.encodedPath.substringAfterLast('/') }
        assertEquals(asked.distinct(), asked)
    }

    @Test
    fun `wrong bytes are refused and forgotten`() {
        trick = { name, bytes -> if (name == largest.key) ok(bytes.also { it[0]++ }) else null }
        assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
        assertNothingFinished()
        assertFalse(store.bundlesFolder.resolve(".partial/${largest.value.sha256}").exists())
        trick = { _, _ -> null }
        assertIs<DownloadEvent.Finished>(download().last())
    }

    @Test
    fun `a part with wrong bytes is refused once, then fetched anew`() {
        leavePart(ByteArray(largest.value.bytes.toInt() - 1))
        assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
        assertIs<DownloadEvent.Finished>(download().last())
    }

    @Test
    fun `a body that is longer is cut off`() {
        trick = { name, bytes -> if (name == largest.key) ok(bytes + ByteArray(1 shl 20)) else null }
        assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
        assertNothingFinished()
        assertTrue(store.usedBytes() <= total + (1 shl 16))
    }

    @Test
    fun `a body that is shorter, another status, another range fail`() {
        val answers =
            listOf<(ByteArray) -> MockResponse>(
                { ok(it.copyOf(it.size - 1)) },
                { MockResponse(code = 500) },
                { MockResponse(code = 404) },
                { MockResponse.Builder().code(206).addHeader("Content-Range", "bytes 7-9/10").body("abc").build() },
                { MockResponse.Builder().code(206).body("abc").build() },
                { MockResponse(code = 416) },
            )
        for (answer in answers) {
            trick = { name, bytes -> if (name == largest.key) answer(bytes) else null }
            assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
            assertNothingFinished()
        }
        trick = { _, _ -> null }
        assertIs<DownloadEvent.Finished>(download().last())
    }

    @Test
    fun `a server without ranges sends all of it again`() {
        leavePart(source.resolve(largest.key).readBytes().copyOf(1))
        trick = { name, bytes -> if (name == largest.key) ok(bytes) else null }
        assertIs<DownloadEvent.Finished>(download().last())
    }

    @Test
    fun `no server, no address`() {
        server.close()
        assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
        assertEquals(ErrorCode.CONFIG_INVALID, code { BundleDownloader(store).download("here") })
    }

    @Test
    fun `files of another bundle are linked by their hash`() {
        assertIs<DownloadEvent.Finished>(download().last())
        // The same bundle unsigned, under another name: a bundle that shares all of its files.
        val other = store.bundlesFolder.resolve(bundle.id)
        val kept = store.bundlesFolder.resolve("0".repeat(64))
        Files.move(other, kept)
        requests.clear()
        assertIs<DownloadEvent.Finished>(download().last())
        assertEquals(emptyList(), fileRequests().map { it.url.encodedPath })
        val key = { path: Path -> Files.getAttribute(path.resolve(largest.key), "unix:ino") }
        assertEquals(key(kept), key(other))
        // A shared file is not taken from a bundle in which it was damaged.
        Files.delete(kept.resolve(largest.key))
        kept.resolve(largest.key).writeBytes(ByteArray(largest.value.bytes.toInt()))
        store.bundles.delete(bundle.id)
        assertIs<DownloadEvent.Finished>(download().last())
        assertEquals(largest.value.sha256, sha256(other.resolve(largest.key).readBytes()))
    }

    @Test
    fun `a damaged bundle in the store is made whole`() {
        val finished = assertIs<DownloadEvent.Finished>(download().last())
        finished.bundle.folder.resolve(largest.key).writeBytes(byteArrayOf(1))
        requests.clear()
        assertIs<DownloadEvent.Finished>(download().last())
        assertEquals(1, fileRequests().size)
        store.bundles.open(bundle.id)
    }

    @Test
    fun `a hostile manifest is refused with its own code`() {
        trick = { name, bytes -> if (name == "manifest.json") ok(bytes.also { it[bytes.size - 3]++ }) else null }
        assertEquals(ErrorCode.BUNDLE_CORRUPT, code { download() })
        trick = { name, _ -> if (name == "manifest.json") ok(ByteArray((16 shl 20) + 1)) else null }
        assertEquals(ErrorCode.DOWNLOAD_FAILED, code { download() })
        assertEquals(emptyList(), fileRequests().map { it.url.encodedPath })
    }

    @Test
    fun `only the trusted key's bundles come in`() {
        val json = readJson(vectors.resolve("sdk/signatures.json"))["bundles"].items
        val keys = json.map { BundleKey(Base64.getDecoder().decode(it["key"].text)) }
        assertEquals(ErrorCode.BUNDLE_SIGNATURE_INVALID, code { download(keys[1]) })
        assertNothingFinished()
        assertIs<DownloadEvent.Finished>(download(keys[0]).last())
    }

    @Test
    fun `nothing is fetched over a metered or unknown network`() {
        for ((state, reason) in listOf(false to Reason.UNMET, null to Reason.UNKNOWN)) {
            val events = download(unmetered = { DeviceState(unmetered = state) })
            assertEquals(listOf(DownloadEvent.Stopped(listOf(Failing(Condition.UNMETERED, reason)))), events)
        }
        assertEquals(0, requests.size)
        var answers = 3
        val stopped = download(unmetered = { DeviceState(unmetered = answers-- > 0) })
        assertIs<DownloadEvent.Stopped>(stopped.last())
        assertNothingFinished()
        assertIs<DownloadEvent.Finished>(download(unmetered = { DeviceState(unmetered = true) }).last())
    }

    @Test
    fun `what would pass the quota is refused before a file comes`() {
        assertEquals(ErrorCode.QUOTA_EXCEEDED, code { download(store = Store(folder.resolve("small"), total)) })
        assertEquals(emptyList(), fileRequests().map { it.url.encodedPath })
    }

    @Test
    fun `cancel ends a download that waits`() =
        runBlocking {
            trick = { name, _ ->
                if (name == largest.key) MockResponse.Builder().onResponseStart(SocketEffect.Stall).build() else null
            }
            val job =
                launch(Dispatchers.Default) {
                    BundleDownloader(store).download(base).first { false }
                }
            while (fileRequests().none { largest.value.sha256 in it.url.encodedPath }) kotlinx.coroutines.delay(10)
            withTimeout(5_000) { job.cancelAndJoin() }
            assertNothingFinished()
            trick = { _, _ -> null }
            assertIs<DownloadEvent.Finished>(BundleDownloader(store).download(base).toList().last())
            Unit
        }
}
