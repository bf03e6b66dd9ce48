package org.pockettune.desktop

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.takeWhile
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import org.pockettune.Condition
import org.pockettune.DeviceState
import org.pockettune.ErrorCode
import org.pockettune.Examples
import org.pockettune.Failing
import org.pockettune.PocketTuneException
import org.pockettune.Preflight
import org.pockettune.Reason
import org.pockettune.RunEvent
import org.pockettune.Sensors
import org.pockettune.Store
import org.pockettune.Thermal
import org.pockettune.TrainingSettings
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.CountDownLatch
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertTrue

class TrainerTest {
    @TempDir
    lateinit var folder: Path

    private val store by lazy { Store(folder) }

    private fun adapter(name: String) = folder.resolve("adapters/$name.safetensors")

    /** Each condition that the defaults ask for, as it stops holding and as its sensor falls silent. */
    private val failures: List<Triple<Condition, (DeviceState) -> DeviceState, (DeviceState) -> DeviceState>> =
        listOf(
            Triple(Condition.CHARGING, { it.copy(charging = false) }, { it.copy(charging = null) }),
            Triple(Condition.BATTERY, { it.copy(batteryPercent = 19) }, { it.copy(batteryPercent = null) }),
            Triple(Condition.THERMAL, { it.copy(thermal = Thermal.MODERATE) }, { it.copy(thermal = null) }),
            Triple(Condition.IDLE, { it.copy(idle = false) }, { it.copy(idle = null) }),
            Triple(Condition.POWER_SAVE, { it.copy(powerSave = true) }, { it.copy(powerSave = null) }),
            Triple(Condition.STORAGE, { it.copy(freeStorageBytes = 1 shl 20) }, { it.copy(freeStorageBytes = null) }),
            Triple(Condition.MEMORY, { it.copy(availableMemoryBytes = 1) }, { it.copy(availableMemoryBytes = null) }),
        )

    @Test
    fun `a condition that fails stops the run before the next step and a later run ends with the same bytes`() =
        runBlocking<Unit> {
            for ((condition, unmet, unknown) in failures) {
                for ((reason, change) in listOf(Reason.UNMET to unmet, Reason.UNKNOWN to unknown)) {
                    val name = "$condition-$reason"
                    val phone = Phone()
                    val well = phone.state
                    // The worker reads the sensors itself: the fourth reading is the one before step 4 (and one to start).
                    var readings = 0
                    val trainer =
                        trainer(store, {
                            readings++
                            if (readings > 4) change(well) else well
                        })
                    val events = trainer.train(name, Prepared.train, Prepared.settings).toList()
                    assertEquals(listOf(1, 2, 3), events.steps, name)
                    assertEquals(RunEvent.Stopped(3, listOf(Failing(condition, reason))), events.last())
                    val blocked = trainer(store, { change(well) }).train(name, Prepared.train, Prepared.settings).toList()
                    assertEquals(listOf<RunEvent>(RunEvent.Stopped(3, listOf(Failing(condition, reason)))), blocked)
                    val rest = trainer(store).train(name, Prepared.train, Prepared.settings).toList()
                    assertEquals(RunEvent.Resumed(3), rest.first())
                    assertEquals(Prepared.undisturbed, Prepared.stateOf(store, name))
                }
            }
        }

    @Test
    fun `nothing happens before the stream is collected or while a condition to start fails`() =
        runBlocking<Unit> {
            val phone = Phone()
            val stream = trainer(store, phone).train("run", Prepared.train)
            assertFalse(Files.exists(folder.resolve("runs")))
            phone.state = phone.state.copy(batteryPercent = 29)
            val failing = listOf(Failing(Condition.BATTERY, Reason.UNMET))
            assertEquals(listOf<RunEvent>(RunEvent.Stopped(0, failing)), stream.toList())
            assertFalse(Files.exists(folder.resolve("runs")))
            assertEquals(Preflight.Blocked(failing), trainer(store, phone).preflight(Prepared.train.count))
            phone.state = phone.state.copy(batteryPercent = 30)
            assertIs<Preflight.Go>(trainer(store, phone).preflight(Prepared.train.count))
        }

    @Test
    fun `pausing saves and ends and going on ends with the same bytes`() =
        runBlocking<Unit> {
            var trainer = trainer(store)
            var readings = 0
            trainer =
                trainer(store, {
                    if (++readings == 7) trainer.pause()
                    Phone().state
                })
            val events = trainer.train("run", Prepared.train, Prepared.settings).toList()
            assertEquals(RunEvent.Stopped(5, emptyList()), events.last())
            trainer(store).train("run", Prepared.train, Prepared.settings).toList()
            assertEquals(Prepared.undisturbed, Prepared.stateOf(store, "run"))
        }

    @Test
    fun `a run that waits for another one can be paused`() =
        runBlocking<Unit> {
            val release = CountDownLatch(1)
            val blocking =
                Sensors {
                    release.await()
                    Phone().state
                }
            val first = async(Dispatchers.IO) { trainer(store, blocking).train("first", Prepared.train, Prepared.settings).toList() }
            awaitWaitingWorkers(1)
            val waiting = trainer(store)
            val second = async(Dispatchers.IO) { waiting.train("second", Prepared.train, Prepared.settings).toList() }
            awaitWaitingWorkers(2)
            waiting.pause()
            release.countDown()
            assertIs<RunEvent.Finished>(first.await().last())
            assertEquals(listOf<RunEvent>(RunEvent.Stopped(0, emptyList())), second.await())
        }

    /** Until so many runs have gone as far as they get. */
    private suspend fun awaitWaitingWorkers(count: Int) {
        while (Thread.getAllStackTraces().keys.count { it.name == "pockettune" && it.state == Thread.State.WAITING } < count) delay(5)
    }

    @Test
    fun `canceling the collector saves within one step and frees the folder`() =
        runBlocking<Unit> {
            val settings = Prepared.settings.copy(steps = 100_000, checkpointEvery = 100_000)
            var seen = 0
            trainer(store).train("run", Prepared.train, settings).takeWhile { it !is RunEvent.Stepped || ++seen < 7 }.toList()
            val saved = Files.list(folder.resolve("runs/run/work")).use { it.map { path -> "${path.fileName}" }.toList() }
            assertEquals(listOf("lock"), saved.filterNot { it.startsWith("state-") })
            val again = trainer(store).train("run", Prepared.train, settings)
            val first = again.takeWhile { it is RunEvent.Resumed }.toList().single() as RunEvent.Resumed
            assertTrue(first.step >= 7)
            val step = saved.single { it.startsWith("state-") }.filter(Char::isDigit).toInt()
            assertEquals(step, first.step)
        }

    @Test
    fun `a run that got worse is rolled back and what was kept stays`() =
        runBlocking<Unit> {
            // Labels of examples that are wrong on purpose: what is learned cannot be right about them.
            val windows = FloatArray(6 * 100 * 20) { ((it * 37) % 101) / 50f - 1f }
            val learned = Examples(windows, IntArray(20) { 2 })
            val judging = Examples(windows, IntArray(20) { 5 })
            Files.createDirectories(adapter("run").parent)
            Files.write(adapter("run"), byteArrayOf(1, 2, 3))
            val last = trainer(store).train("run", learned, Prepared.settings, judging).toList().last()
            val result = assertIs<RunEvent.Finished>(last).result
            assertFalse(result.accepted)
            assertTrue(result.evaluationAfter > result.evaluationBefore)
            assertEquals(listOf<Byte>(1, 2, 3), Files.readAllBytes(adapter("run")).toList())
            assertTrue("\"accepted\":false" in Files.readString(folder.resolve("runs/run/result.json")))
        }

    @Test
    fun `a loss that is not finite ends the run and the last good state stays`() =
        runBlocking<Unit> {
            val settings = TrainingSettings(steps = 200, learningRate = 1e6, checkpointEvery = 1)
            val events = ArrayList<RunEvent>()
            val failure =
                assertThrows<PocketTuneException> {
                    runBlocking { trainer(store).train("run", Prepared.train, settings).onEach { events.add(it) }.toList() }
                }
            assertEquals(ErrorCode.LOSS_NOT_FINITE, failure.code)
            assertFalse(Files.exists(adapter("run")))
            val saved = events.filterIsInstance<RunEvent.Checkpointed>().lastOrNull()?.step ?: 0
            assertEquals(saved, events.steps.lastOrNull() ?: 0)
        }

    @Test
    fun `deleting personal data stops the run at work and leaves nothing`() =
        runBlocking<Unit> {
            val settings = Prepared.settings.copy(steps = 100_000)
            val events = ArrayList<RunEvent>()
            var deletion: Job? = null
            trainer(store).train("run", Prepared.train, settings).collect { event ->
                events.add(event)
                if (deletion == null && event is RunEvent.Checkpointed) {
                    deletion = launch { assertTrue(store.deletePersonalData().files > 0) }
                }
            }
            assertIs<RunEvent.Stopped>(events.last())
            checkNotNull(deletion).join()
            assertFalse(Files.exists(folder.resolve("runs")))
        }

    @Test
    fun `logits agree with the evaluating program`() =
        runBlocking<Unit> {
            trainer(store).train("run", Prepared.train, Prepared.settings).toList()
            val windows = FloatArray(6 * 100 * 45) { ((it * 7919) % 1009) / 500f - 1f }
            val labels = IntArray(45) { it % 7 }
            val logits = trainer(store).predict(windows, "run")
            val right = labels.indices.count { row -> (0 until 7).maxByOrNull { logits[row * 7 + it] } == labels[row] }
            val found = trainer(store).evaluate(Examples(windows, labels), "run")
            assertEquals(45, found.examples)
            assertEquals(right / 45.0, found.accuracy)
        }

    @Test
    fun `bits without a program and another run's settings are refused`() =
        runBlocking<Unit> {
            trainer(store).train("run", Prepared.train, Prepared.settings).toList()
            val other = Prepared.settings.copy(seed = 4)
            assertEquals(
                ErrorCode.STATE_MISMATCH,
                assertThrows<PocketTuneException> {
                    runBlocking { trainer(store).train("run", Prepared.train, other).toList() }
                }.code,
            )
            assertEquals(
                ErrorCode.PROGRAM_MISSING,
                assertThrows<PocketTuneException> { runBlocking { trainer(store).predict(FloatArray(600), bits = 3) } }.code,
            )
            trainer(store).discard("run")
            assertFalse(Files.exists(folder.resolve("runs/run")))
            assertTrue(Files.exists(adapter("run")))
        }
}
