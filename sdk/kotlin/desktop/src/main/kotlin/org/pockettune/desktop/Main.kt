package org.pockettune.desktop

import kotlinx.coroutines.runBlocking
import org.pockettune.Bundle
import org.pockettune.Conditions
import org.pockettune.DeviceState
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.Examples
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.Sensors
import org.pockettune.Store
import org.pockettune.Trainer
import org.pockettune.TrainingSettings
import org.pockettune.executorch.ExecuTorchEngine
import org.pockettune.host.HostRuntime
import org.pockettune.onnxruntime.OnnxRuntimeEngine
import java.nio.file.Path
import kotlin.system.exitProcess

private const val COMMANDS = "train, evaluate, predict, personalize, generate or overhead"
private const val PLENTY = 1L shl 50

/** A desktop is always plugged in, and nobody minds. */
internal val desktopSensors =
    Sensors { DeviceState(freeStorageBytes = PLENTY, availableMemoryBytes = PLENTY) }

/** Asks for nothing that a desktop does not measure. */
internal val desktopConditions =
    Conditions(charging = false, minimumBatteryPercent = 0, maximumThermal = null, idle = false, powerSave = false)

/**
 * `pockettune-desktop NATIVES COMMAND --name value ...`: the SDK on a desktop JVM, with the native runner's words and
 * events. `--out` is a store's folder, `--run` the name of the run in it. A failure is one line with its code, and status 1.
 */
public fun main(words: Array<String>) {
    val status =
        try {
            HostRuntime.install(Path.of(words[0]))
            val options = Options(words.drop(2))
            options.text("kill-at")?.let(::killAt)
            runBlocking { command(words[1], options) }
            0
        } catch (failure: PocketTuneException) {
            System.err.println("pockettune-desktop: ${failure.message}")
            1
        }
    System.out.flush()
    // fbjni's thread would keep the process alive.
    exitProcess(status)
}

private suspend fun command(
    name: String,
    options: Options,
) = when (name) {
    "train" -> train(options)
    "evaluate" -> evaluate(options)
    "predict" -> predict(options)
    "personalize" -> personalize(options)
    "generate" -> generate(options)
    "overhead" -> overhead(options)
    else -> throw PocketTuneException(ErrorCode.USAGE, "no command '$name': use $COMMANDS")
}

/** `--engine`: executorch, or onnxruntime, when the bundle has programs for it. */
internal fun engineOf(options: Options): Engine {
    val threads = options.whole("threads") ?: 1
    return when (val name = options.text("engine") ?: "executorch") {
        "executorch" -> ExecuTorchEngine(threads, HostRuntime.version())
        "onnxruntime" -> OnnxRuntimeEngine(threads)
        else -> throw PocketTuneException(ErrorCode.USAGE, "no engine '$name': use executorch or onnxruntime")
    }
}

private fun trainer(options: Options) =
    Trainer(
        Bundle.open(options.path("bundle")),
        engineOf(options),
        Store(options.path("out")),
        desktopSensors,
        desktopConditions,
        desktopConditions,
    )

private suspend fun train(options: Options) {
    val settings =
        TrainingSettings(
            steps = options.whole("steps"),
            epochs = options.whole("epochs"),
            seed = options.seed(),
            round = options.whole("round") ?: 0,
            client = options.whole("client") ?: 0,
            learningRate = options.real("learning-rate"),
            parameters = options.text("parameters"),
            checkpointEvery = options.whole("checkpoint-every") ?: 25,
        )
    val examples = Examples.read(options.path("inputs"))
    val validation = options.text("validation")?.let { Examples.read(Path.of(it)) }
    trainer(options).train(options.text("run") ?: "run", examples, settings, validation).collect(::print)
}

private suspend fun evaluate(options: Options) {
    val found = trainer(options).evaluate(Examples.read(options.path("inputs")), options.text("parameters"))
    println("""{"event":"done","examples":${found.examples},"loss":${found.loss},"accuracy":${found.accuracy}}""")
}

/** Takes and writes files of little-endian float32. */
private suspend fun predict(options: Options) {
    val inputs = readFloats(options.path("inputs"))
    val logits = trainer(options).predict(inputs, options.text("parameters"), options.whole("bits") ?: 32)
    writeFloats(options.path("logits"), logits)
}

internal fun print(event: RunEvent) {
    val line =
        when (event) {
            is RunEvent.Resumed -> """{"event":"resume","step":${event.step}}"""
            is RunEvent.Prepared -> """{"event":"prepare","program":"${event.program}","done":${event.done},"of":${event.of}}"""
            is RunEvent.Stepped ->
                """{"event":"step","step":${event.step},"of":${event.of},"loss":${event.loss},"seconds":${event.seconds}}"""
            is RunEvent.Checkpointed -> """{"event":"checkpoint","step":${event.step}}"""
            is RunEvent.Damaged -> """{"event":"damaged","path":"${event.file}"}"""
            is RunEvent.Stopped ->
                """{"event":"stopped","step":${event.step},"failing":[${event.failing.joinToString(",") { "\"${it.condition.id}\"" }}]}"""
            is RunEvent.Finished -> """{"event":"done","accepted":${event.result.accepted}}"""
        }
    println(line)
    System.out.flush()
}
