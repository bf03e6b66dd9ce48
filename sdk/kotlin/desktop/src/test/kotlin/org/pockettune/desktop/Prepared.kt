package org.pockettune.desktop

import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.pockettune.Bundle
import org.pockettune.Conditions
import org.pockettune.DeviceState
import org.pockettune.Examples
import org.pockettune.RunEvent
import org.pockettune.Sensors
import org.pockettune.Store
import org.pockettune.Thermal
import org.pockettune.Trainer
import org.pockettune.TrainingSettings
import org.pockettune.executorch.ExecuTorchEngine
import org.pockettune.host.HostRuntime
import java.nio.file.Files
import java.nio.file.Path

/** What tests/sdk makes beforehand: a har-conv bundle, one person's windows, and the natives. */
internal object Prepared {
    private val folder = Path.of(System.getProperty("pockettune.prepared"))

    init {
        HostRuntime.install(Path.of(System.getProperty("pockettune.natives")))
    }

    val bundle = Bundle.open(folder.resolve("bundle"))
    val train = Examples.read(folder.resolve("train.safetensors"))
    val test = Examples.read(folder.resolve("test.safetensors"))
    val engine = ExecuTorchEngine(1, HostRuntime.version())
    val settings = TrainingSettings(steps = 12, checkpointEvery = 5, seed = 3)

    /** The bytes of the last state of an undisturbed run. */
    val undisturbed: List<Byte> by lazy {
        val store = Store(Files.createTempDirectory("undisturbed"))
        runBlocking { Trainer(bundle, engine, store, Phone()).train("run", train, settings).toList() }
        stateOf(store, "run")
    }

    fun stateOf(
        store: Store,
        name: String,
        step: Int = settings.steps!!,
    ): List<Byte> = Files.readAllBytes(store.root.resolve("runs/$name/work/state-%08d.safetensors".format(step))).toList()
}

/** Sensors that a test turns as it likes; at first everything is well. */
internal class Phone : Sensors {
    @Volatile
    var state =
        DeviceState(
            charging = true,
            batteryPercent = 80,
            thermal = Thermal.NOMINAL,
            idle = true,
            unmetered = true,
            powerSave = false,
            freeStorageBytes = 1L shl 40,
            availableMemoryBytes = 1L shl 40,
        )

    override fun read(): DeviceState = state
}

internal fun trainer(
    store: Store,
    phone: Sensors = Phone(),
    goOn: Conditions = Conditions.CONTINUE,
) = Trainer(Prepared.bundle, Prepared.engine, store, phone, Conditions.START, goOn)

internal val List<RunEvent>.steps: List<Int> get() = filterIsInstance<RunEvent.Stepped>().map { it.step }
