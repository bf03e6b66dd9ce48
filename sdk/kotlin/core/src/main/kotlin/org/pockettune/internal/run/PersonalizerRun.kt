package org.pockettune.internal.run

import org.pockettune.AdapterLayout
import org.pockettune.Bundle
import org.pockettune.DType
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.ImageSize
import org.pockettune.Needs
import org.pockettune.PersonalizationSettings
import org.pockettune.Pixels
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.RunResult
import org.pockettune.Store
import org.pockettune.TextEncoding
import org.pockettune.internal.TensorBytes
import org.pockettune.internal.folderOf
import org.pockettune.internal.format
import org.pockettune.internal.inFileOrder
import org.pockettune.internal.makeFolder
import org.pockettune.internal.sha256OfSafetensors
import org.pockettune.internal.writeViews
import java.nio.ByteBuffer

private const val NANOSECONDS = 1e9
private const val MOST_JUDGING = 8

/** A text_to_image bundle with the engine that runs it. Raises `config_invalid` for a bundle of another task. */
internal class Painter(
    val bundle: Bundle,
    val engine: Engine,
) {
    val generation = generationOf(bundle)
    val adapter: AdapterLayout = required(bundle.manifest.adapter)
    val text: TextEncoding = required(bundle.manifest.text)
    val image: ImageSize = required(bundle.manifest.image)
    val adapterTensor = bundle.manifest.tensors.getValue(adapter.tensors)

    /** Names of the tensors that training keeps. */
    val stateNames: Set<String> get() = stateOf(bundle.program(bundle.manifest.training.program)) + adapter.tensors

    private fun <Member : Any> required(member: Member?): Member =
        member ?: throw PocketTuneException(
            ErrorCode.BUNDLE_MANIFEST_INVALID,
            "the bundle lacks a member that its task needs: export it again",
        )

    fun settings(
        given: PersonalizationSettings,
        photos: Int,
    ): Personalization {
        val training = bundle.manifest.training
        if (given.learningRate != null && "learning_rate" !in training.hyper) {
            throw PocketTuneException(
                ErrorCode.CONFIG_INVALID,
                "this bundle's training takes no learning rate: leave it out",
            )
        }
        val steps = given.steps ?: training.steps
        return Personalization(
            seed = given.seed,
            steps = steps,
            samples = minOf(given.samples ?: training.samples, steps),
            hyper = training.hyper + given.learningRate?.let { mapOf("learning_rate" to it) }.orEmpty(),
            photos = photos,
            classPictures = given.classPictures,
            priorWeight = given.priorWeight,
        )
    }

    fun needs(settings: Personalization): Needs {
        val pictures = listOf(generation.promptProgram, generation.stepProgram)
        val programs =
            bundle.manifest.preparation + bundle.manifest.training.program +
                if (settings.classPictures > 0) pictures else emptyList()
        val checkpoint = checkpointBytes(bundle, stateNames, settings.steps)
        return Needs(
            memoryBytes = peakBytes(bundle, programs, stateBytes(bundle, stateNames)),
            storageBytes = Preparation(bundle, engine, settings).bytes + 2 * checkpoint + adapterTensor.bytes,
        )
    }
}

/** What the person gives: photos and tokenized prompts. */
internal class Subject(
    val photos: List<Pixels>,
    val ids: LongArray,
    val classIds: LongArray?,
)

/** One run of a personalizer, on the thread of its caller. */
internal class PersonalizerRun(
    private val painter: Painter,
    private val store: Store,
    name: String,
    private val given: PersonalizationSettings,
    private val surroundings: Surroundings,
    private val control: Control,
) {
    private val bundle = painter.bundle
    private val training = bundle.manifest.training
    private val adapter = painter.adapter.tensors
    private val folder = RunFolder(store, name)

    fun run(
        photos: Int,
        subject: () -> Subject,
    ): RunEvent {
        val settings = painter.settings(given, photos)
        val needs = painter.needs(settings)
        val anyRun = Checkpoints(folder.work, emptyMap()) {}
        val failing = surroundings.failingToStart(needs)
        if (failing.isNotEmpty()) return RunEvent.Stopped(anyRun.savedStep(), failing)
        control.needs = Needs(0, checkpointBytes(bundle, painter.stateNames, settings.steps))
        val checked = subject()
        checkPhotos(checked.photos)
        folder.requireRoom(needs)
        return folder.locked(control) {
            stoppable(anyRun::savedStep) { ProcessMemory().use { personalize(settings, checked, it) } }
        }
    }

    private fun checkPhotos(photos: List<Pixels>) {
        for ((index, photo) in photos.withIndex()) {
            if (photo.height == painter.image.height && photo.width == painter.image.width) continue
            throw PocketTuneException(
                ErrorCode.TENSOR_MISMATCH,
                "photo $index has ${photo.height} x ${photo.width} pixels: the bundle takes " +
                    "${painter.image.height} x ${painter.image.width}",
            )
        }
    }

    private fun personalize(
        settings: Personalization,
        subject: Subject,
        memory: ProcessMemory,
    ): RunEvent {
        val prepared = preparedIdentity(settings, subject)
        val checkpoints = Checkpoints(folder.work, stateIdentity(settings, prepared)) { control.emit(RunEvent.Damaged(it)) }
        val state = State(bundle, painter.stateNames)
        val losses = Losses(settings.steps)
        val first = checkpoints.load(state, losses)
        if (first > 0) control.emit(RunEvent.Resumed(first))
        val prompts = listOfNotNull(subject.ids, subject.classIds, painter.text.unconditionalIds.toLongArray())
        val batch = Batch(prompts, subject.photos.map { it.values })
        val begin = control.clock.nanoseconds()
        Preparation(bundle, painter.engine, settings).run(batch, folder.work, prepared, control).use { caches ->
            val preparation = (control.clock.nanoseconds() - begin) / NANOSECONDS
            val feed = Feed(settings.seed, settings.hyper, batch, state, caches)
            val seconds = if (first < settings.steps) train(settings, first, feed, checkpoints, losses) else emptyList()
            val change = changeSince(initialValue(bundle, adapter), state.now(adapter), "adapter")
            val after = judge(settings, feed)
            val before = judge(settings, Feed(settings.seed, settings.hyper, batch, State(bundle, painter.stateNames), caches))
            val result =
                RunResult(
                    accepted = after <= before,
                    steps = settings.steps,
                    lossFirst = losses.meanOfFirst(),
                    lossLast = losses.meanOfLast(),
                    losses = List(settings.steps) { losses[it] },
                    evaluationBefore = before,
                    evaluationAfter = after,
                    change = change,
                    secondsPerStep = median(seconds),
                    resumedFrom = first.takeIf { it > 0 },
                )
            if (result.accepted) keep(state.now(adapter))
            folder.writeResult(result, memory, "adapter_change", mapOf("preparation_seconds" to preparation))
            return RunEvent.Finished(result)
        }
    }

    private fun train(
        settings: Personalization,
        first: Int,
        feed: Feed,
        checkpoints: Checkpoints,
        losses: Losses,
    ): List<Double> =
        Executor(painter.engine, bundle, training.program, feed).use {
            trainSteps(
                it,
                { step -> settings.item(step % settings.samples) },
                Steps(first, settings.steps, given.checkpointEvery),
                checkpoints,
                feed.state,
                losses,
                control,
            )
        }

    /** Mean loss of the first samples, by the training program whose new state is thrown away. */
    private fun judge(
        settings: Personalization,
        feed: Feed,
    ): Double {
        val count = minOf(settings.samples, MOST_JUDGING)
        var sum = 0.0
        Executor(painter.engine, bundle, training.program, feed, keepsState = false).use { program ->
            for (sample in 0 until count) {
                control.checkMayRun()
                program.run(settings.item(sample))
                sum += program.loss().toDouble()
            }
        }
        return sum / count
    }

    private fun keep(adapter: ByteBuffer) {
        makeFolder(folderOf(folder.adapter))
        writeViews(folder.adapter, painter.adapterTensor, adapter, painter.adapter.metadata)
    }

    private fun preparedIdentity(
        settings: Personalization,
        subject: Subject,
    ): Map<String, String> =
        mapOf(
            "bundle_id" to bundle.id,
            "engine" to painter.engine.id,
            "inputs_sha256" to inputsSha256(subject),
            "seed" to java.lang.Long.toUnsignedString(settings.seed),
            "samples" to "${settings.samples}",
            "class_pictures" to "${settings.classPictures}",
        )

    private fun stateIdentity(
        settings: Personalization,
        prepared: Map<String, String>,
    ): Map<String, String> =
        prepared + settings.hyper.mapValues { format(it.value) } +
            mapOf("steps" to "${settings.steps}", "prior_weight" to format(settings.priorWeight))

    /** The SHA-256 of the file that holds photos and prompts as every tool writes it. */
    private fun inputsSha256(subject: Subject): String {
        val bytes = 3L * painter.image.height * painter.image.width * DType.FLOAT32.bytes
        val pixels = directBuffer(bytes * subject.photos.size)
        for (photo in subject.photos) pixels.put(photo.values.whole())
        pixels.clear()
        val shape = listOf(subject.photos.size, 3, painter.image.height, painter.image.width)
        val tensors =
            listOfNotNull(
                idsOf("input_ids", subject.ids),
                subject.classIds?.let { idsOf("class_input_ids", it) },
                TensorBytes("pixels", DType.FLOAT32, shape, pixels),
            )
        return sha256OfSafetensors(tensors.sortedWith(inFileOrder), emptyMap())
    }

    private fun idsOf(
        name: String,
        ids: LongArray,
    ): TensorBytes {
        val bytes = directBuffer(ids.size.toLong() * DType.INT64.bytes)
        bytes.asLongBuffer().put(ids)
        return TensorBytes(name, DType.INT64, listOf(1, ids.size), bytes)
    }
}
