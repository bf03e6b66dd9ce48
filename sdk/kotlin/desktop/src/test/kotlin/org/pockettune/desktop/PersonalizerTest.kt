package org.pockettune.desktop

import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import org.pockettune.Bundle
import org.pockettune.Condition
import org.pockettune.ErrorCode
import org.pockettune.Failing
import org.pockettune.PersonalizationSettings
import org.pockettune.Personalizer
import org.pockettune.Picture
import org.pockettune.Pixels
import org.pockettune.PocketTuneException
import org.pockettune.Preflight
import org.pockettune.Reason
import org.pockettune.RunEvent
import org.pockettune.Sensors
import org.pockettune.Store
import java.nio.file.Files
import java.nio.file.Path
import kotlin.math.sin
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** On the engine's toy bundle, whose photos have 8 x 8 pixels. */
class PersonalizerTest {
    @TempDir
    lateinit var folder: Path

    private val bundle = Bundle.open(Path.of(System.getProperty("pockettune.toy")))
    private val settings = PersonalizationSettings(steps = 12, samples = 5, seed = 3)
    private val photos = List(3) { photo -> Pixels(FloatArray(3 * 8 * 8) { sin((photo * 192 + it).toFloat()) }, 8, 8) }

    private fun personalizer(
        store: Store,
        sensors: Sensors = Phone(),
    ) = Personalizer(bundle, Prepared.engine, store, sensors)

    private fun run(
        name: String,
        sensors: Sensors = Phone(),
        given: List<Pixels> = photos,
    ): List<RunEvent> =
        runBlocking { personalizer(Store(folder.resolve(name)), sensors).personalize("run", given, "b c", settings).toList() }

    private fun work(name: String) = folder.resolve("$name/runs/run/work")

    private fun state(name: String): List<Byte> = Files.readAllBytes(work(name).resolve("state-00000012.safetensors")).toList()

    @Test
    fun `a run that stops anywhere ends with the same bytes`() {
        val whole = run("whole")
        // Before each of these: one reading to start, 1 + 3 + 5 to prepare, 12 to train, 5 + 5 to judge.
        assertEquals(9, whole.filterIsInstance<RunEvent.Prepared>().size)
        val saved = mapOf(1 to 0, 6 to 0, 10 to 0, 14 to 4, 21 to 11, 22 to 12, 30 to 12)
        for ((readings, step) in saved) {
            val name = "stopped-$readings"
            val phone = Phone()
            val well = phone.state
            var count = 0
            val events = run(name, { if (++count > readings) well.copy(charging = false) else well })
            val failing = listOf(Failing(Condition.CHARGING, Reason.UNMET))
            assertEquals(RunEvent.Stopped(step, failing), events.last(), name)
            assertEquals(readings >= 10, Files.exists(work(name).resolve("cache.bin")), name)
            assertFalse(Files.list(work(name)).use { files -> files.anyMatch { "$it".endsWith(".partial") } })
            val rest = run(name)
            assertEquals(step, (rest.first() as? RunEvent.Resumed)?.step ?: 0)
            assertIs<RunEvent.Finished>(rest.last())
            assertEquals(state("whole"), state(name), name)
        }
    }

    @Test
    fun `a run that got worse is rolled back and what was kept stays`() {
        val store = Store(folder.resolve("worse"))
        val kept = store.root.resolve("adapters/run.safetensors")
        Files.createDirectories(kept.parent)
        Files.write(kept, byteArrayOf(1, 2, 3))
        // Steps so long that they jump over what is looked for.
        val wild = settings.copy(learningRate = 100.0)
        val last = runBlocking { personalizer(store).personalize("run", photos, "b c", wild).toList() }.last()
        val result = assertIs<RunEvent.Finished>(last).result
        assertFalse(result.accepted)
        assertTrue(result.evaluationAfter > result.evaluationBefore)
        assertTrue(result.change > 1)
        assertEquals(listOf<Byte>(1, 2, 3), Files.readAllBytes(kept).toList())
        assertTrue("\"accepted\":false" in Files.readString(store.root.resolve("runs/run/result.json")))
        // The rejected state is the run's, not a later one's: another name begins at the bundle's adapter.
        val calm = runBlocking { personalizer(store).personalize("calm", photos, "b c", settings).toList() }.last()
        assertEquals(result.evaluationBefore, assertIs<RunEvent.Finished>(calm).result.evaluationBefore)
    }

    @Test
    fun `preflight asks for what a run needs`() {
        val phone = Phone()
        val personalizer = personalizer(Store(folder), phone)
        assertIs<Preflight.Go>(personalizer.preflight(3, settings))
        phone.state = phone.state.copy(freeStorageBytes = (64 shl 20) + 100)
        val blocked = Preflight.Blocked(listOf(Failing(Condition.STORAGE, Reason.UNMET)))
        assertEquals<Preflight>(blocked, personalizer.preflight(3, settings))
        assertEquals(
            ErrorCode.PHOTOS_TOO_FEW,
            assertThrows<PocketTuneException> { personalizer.preflight(0, settings) }.code,
        )
    }

    @Test
    fun `pictures are cropped to their middle and averaged by area`() {
        // 12 rows of 20 pixels: columns 4 to 15 remain, and each new pixel is the mean of 1.5 x 1.5 old ones.
        val rgb = ByteArray(3 * 12 * 20) { if (it % 3 == 0) (it / 3 % 20 * 12).toByte() else 0 }
        val pixels = Pixels.of(Picture(20, 12, rgb), bundle)
        assertEquals(listOf(8, 8), listOf(pixels.height, pixels.width))
        // Red rises by 12 a column. Every other new pixel begins in the middle of an old one.
        val red =
            FloatArray(8) { column ->
                val begin = 4 + 3 * column / 2
                val mean = if (column % 2 == 0) begin * 2 + (begin + 1) else begin + (begin + 1) * 2
                (mean * 12 / 3.0 / 127.5 - 1).toFloat()
            }
        val store = Store(folder)
        val other = Pixels(FloatArray(192) { if (it < 64) red[it % 8] else -1f }, 8, 8)
        // Both are one photo to the SDK: its identity is the hash of its values.
        runBlocking {
            personalizer(store).personalize("run", listOf(pixels), "b c", settings).toList()
            val again = personalizer(store).personalize("run", listOf(other), "b c", settings).toList()
            assertEquals(RunEvent.Resumed(12), again.first())
        }
        assertTrue(assertThrows<PocketTuneException> { Picture(2, 2, ByteArray(3)) }.code == ErrorCode.PHOTOS_UNREADABLE)
    }

    @Test
    fun `photos of another size are refused`() {
        val wrong = listOf(Pixels(FloatArray(3 * 8 * 4), 8, 4))
        assertEquals(ErrorCode.TENSOR_MISMATCH, assertThrows<PocketTuneException> { run("wrong", given = wrong) }.code)
    }
}
