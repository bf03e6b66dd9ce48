package org.pockettune.internal.run

import org.pockettune.Bundle
import org.pockettune.Classification
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.Evaluation
import org.pockettune.Examples
import org.pockettune.Needs
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.RunResult
import org.pockettune.Store
import org.pockettune.TrainingSettings
import org.pockettune.internal.SafetensorsFile
import org.pockettune.internal.folderOf
import org.pockettune.internal.format
import org.pockettune.internal.makeFolder
import org.pockettune.internal.readViews
import org.pockettune.internal.writeViews
import java.nio.ByteBuffer
import java.nio.file.Path

/** A classification bundle with the engine that runs it. */
internal class Classifier(
    val bundle: Bundle,
    val engine: Engine,
) {
    val task: Classification =
        bundle.manifest.classification ?: throw PocketTuneException(
            ErrorCode.CONFIG_INVALID,
            "the bundle's task is '${bundle.manifest.task}': a trainer takes classification bundles",
        )
    val parameters = bundle.manifest.tensors.getValue(task.parameters)

    /** The initial state of a program's tensors and the parameters, these out of a file when it is given. */
    fun state(
        program: String,
        file: Path?,
    ): State {
        val state = State(bundle, stateOf(bundle.program(program)) + task.parameters)
        file?.let { readViews(it, parameters, state.now(task.parameters)) }
        return state
    }

    /** Runs the evaluating program over all examples in order; [check] is called before each batch. */
    fun evaluate(
        batches: Batches,
        state: State,
        check: () -> Unit = {},
    ): Evaluation {
        val feed = Feed(0, emptyMap(), batches.batch, state, MemoryCache())
        val order = IntArray(batches.count) { it }
        var loss = 0.0
        var right = 0.0
        Executor(engine, bundle, task.evaluateProgram, feed).use { program ->
            for (begin in order.indices step task.batchSize) {
                check()
                batches.fill(order, begin)
                program.run(Item())
                loss += program.metric("loss_sum").toDouble()
                right += program.metric("right").toDouble()
            }
        }
        if (!loss.isFinite()) {
            throw PocketTuneException(
                ErrorCode.LOSS_NOT_FINITE,
                "the model's loss is not finite: use other parameters than these",
            )
        }
        return Evaluation(batches.count, loss / batches.count, right / batches.count)
    }
}

/** One run of a trainer, on the thread of its caller. */
internal class TrainerRun(
    private val classifier: Classifier,
    private val store: Store,
    private val name: String,
    private val settings: TrainingSettings,
    private val surroundings: Surroundings,
    private val control: Control,
) {
    private val bundle = classifier.bundle
    private val task = classifier.task
    private val training = bundle.manifest.training
    private val folder = RunFolder(store, name)
    private val client = Client(settings.seed, settings.round, settings.client)
    private val hyper = training.hyper + settings.learningRate?.let { mapOf("learning_rate" to it) }.orEmpty()
    private val startFile = settings.parameters?.let(store::adapterFile)

    fun run(
        examples: Examples,
        validation: Examples?,
    ): RunEvent {
        val perEpoch = (examples.count + task.batchSize - 1) / task.batchSize
        val steps = settings.stepsOf(task, perEpoch)
        val needs = trainerNeeds(classifier, steps)
        val anyRun = Checkpoints(folder.work, emptyMap()) {}
        val failing = surroundings.failingToStart(needs)
        if (failing.isNotEmpty()) return RunEvent.Stopped(anyRun.savedStep(), failing)
        control.needs = needs.copy(memoryBytes = 0, storageBytes = checkpointBytes(bundle, stateNames(classifier), steps))
        val batches = Batches(examples, task)
        val judging = validation?.let { Batches(it, task) } ?: batches
        folder.requireRoom(needs)
        return folder.locked(control) {
            stoppable(anyRun::savedStep) { ProcessMemory().use { train(batches, judging, steps, it) } }
        }
    }

    private fun train(
        batches: Batches,
        judging: Batches,
        steps: Int,
        memory: ProcessMemory,
    ): RunEvent {
        val checkpoints = Checkpoints(folder.work, identity(batches, steps)) { control.emit(RunEvent.Damaged(it)) }
        val state = classifier.state(training.program, startFile)
        val before = copyOf(state.now(task.parameters))
        val losses = Losses(steps)
        val first = checkpoints.load(state, losses)
        if (first > 0) control.emit(RunEvent.Resumed(first))
        val seconds =
            if (first == steps) {
                emptyList()
            } else {
                val feed = Feed(settings.seed, hyper, batches.batch, state, MemoryCache())
                Executor(classifier.engine, bundle, training.program, feed).use {
                    trainSteps(
                        it,
                        items(batches),
                        Steps(first, steps, settings.checkpointEvery),
                        checkpoints,
                        state,
                        losses,
                        control,
                    )
                }
            }
        val change = changeSince(before, state.now(task.parameters), "model")
        val after = classifier.evaluate(judging, state, control::checkMayRun)
        val trained = copyOf(state.now(task.parameters))
        copy(before, state.now(task.parameters))
        val evaluationBefore = classifier.evaluate(judging, state, control::checkMayRun)
        val result =
            RunResult(
                accepted = after.loss <= evaluationBefore.loss,
                steps = steps,
                lossFirst = losses.meanOfFirst(),
                lossLast = losses.meanOfLast(),
                losses = List(steps) { losses[it] },
                evaluationBefore = evaluationBefore.loss,
                evaluationAfter = after.loss,
                change = change,
                secondsPerStep = median(seconds),
                resumedFrom = first.takeIf { it > 0 },
            )
        if (result.accepted) keep(trained)
        folder.writeResult(result, memory, "change", mapOf("examples" to batches.count.toDouble()))
        return RunEvent.Finished(result)
    }

    private fun keep(parameters: ByteBuffer) {
        makeFolder(folderOf(folder.adapter))
        writeViews(folder.adapter, classifier.parameters, parameters, mapOf("bundle_id" to bundle.id))
    }

    /** Says what a step is about, and prepares its batch. */
    private fun items(batches: Batches): (Int) -> Item {
        val perEpoch = batches.perEpoch
        var epoch = -1
        var order = IntArray(0)
        return { step ->
            if (step / perEpoch != epoch) {
                epoch = step / perEpoch
                order = client.order(epoch, batches.count)
            }
            batches.fill(order, step % perEpoch * task.batchSize)
            client.item(step)
        }
    }

    private fun identity(
        batches: Batches,
        steps: Int,
    ): Map<String, String> =
        hyper.mapValues { format(it.value) } +
            mapOf(
                "bundle_id" to bundle.id,
                "engine" to classifier.engine.id,
                "inputs_sha256" to batches.sha256(),
                "state_sha256" to startFile?.let { SafetensorsFile(it).use { file -> file.fileSha256() } }.orEmpty(),
                "seed" to java.lang.Long.toUnsignedString(settings.seed),
                "round" to "${settings.round}",
                "client" to "${settings.client}",
                "steps" to "$steps",
            )
}

private fun stateNames(classifier: Classifier): Set<String> =
    stateOf(classifier.bundle.program(classifier.bundle.manifest.training.program)) + classifier.task.parameters

internal fun trainerNeeds(
    classifier: Classifier,
    steps: Int,
): Needs {
    val names = stateNames(classifier)
    val programs = listOf(classifier.bundle.manifest.training.program, classifier.task.evaluateProgram)
    return Needs(
        memoryBytes = peakBytes(classifier.bundle, programs, stateBytes(classifier.bundle, names)),
        storageBytes = 2 * checkpointBytes(classifier.bundle, names, steps) + classifier.parameters.bytes,
    )
}
