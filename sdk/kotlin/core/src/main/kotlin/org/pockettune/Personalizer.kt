package org.pockettune

import kotlinx.coroutines.flow.Flow
import org.pockettune.internal.Tokenizer
import org.pockettune.internal.readViews
import org.pockettune.internal.run.Batch
import org.pockettune.internal.run.Denoise
import org.pockettune.internal.run.Executor
import org.pockettune.internal.run.Feed
import org.pockettune.internal.run.Item
import org.pockettune.internal.run.MemoryCache
import org.pockettune.internal.run.Painter
import org.pockettune.internal.run.PersonalizerRun
import org.pockettune.internal.run.RunFolder
import org.pockettune.internal.run.Runs
import org.pockettune.internal.run.State
import org.pockettune.internal.run.Subject
import org.pockettune.internal.run.Surroundings
import org.pockettune.internal.run.expectedSeconds
import org.pockettune.internal.run.preflight
import org.pockettune.internal.run.stateOfGeneration
import java.nio.ByteBuffer
import kotlin.math.floor

/**
 * Personalizes a `text_to_image` bundle on photos, and makes pictures with it (`docs/sdk.md` 5, 7).
 *
 * @param bundle the bundle; another task is `config_invalid`.
 * @param engine what runs its programs.
 * @param store where runs and kept adapters lie.
 * @param sensors what the phone measures.
 * @param start what has to hold to start.
 * @param goOn what has to hold before every step.
 * @param clock measures the steps.
 */
public class Personalizer
    @JvmOverloads
    constructor(
        bundle: Bundle,
        engine: Engine,
        private val store: Store,
        sensors: Sensors,
        start: Conditions = Conditions.START,
        goOn: Conditions = Conditions.CONTINUE,
        clock: Clock = Clock.SYSTEM,
    ) {
        private val painter = Painter(bundle, engine)
        private val surroundings = Surroundings(sensors, clock, start, goOn)
        private val runs = Runs(surroundings)

        /** Whether a run with so many photos may start now; does no work. */
        @JvmOverloads
        public fun preflight(
            photos: Int,
            settings: PersonalizationSettings = PersonalizationSettings(),
        ): Preflight {
            requirePhotos(photos)
            val resolved = painter.settings(settings, photos)
            return surroundings.preflight(painter.needs(resolved), expectedSeconds(painter.bundle, resolved.steps))
        }

        /**
         * Personalizes, or goes on with a run of that name. Nothing happens before the stream is collected; one collection is
         * one run, on a worker thread of its own. Canceling the collector ends it within one step, the state saved.
         *
         * @param name the run's name, and that of the adapter that it gives.
         * @param photos at least one.
         * @param prompt what the photos show: `a photo of sks bear`.
         * @param settings how; another setting than a saved run's is `state_mismatch`.
         * @return what happens; the last event is [RunEvent.Stopped] or [RunEvent.Finished]. Errors: `photos_too_few`,
         *   `prompt_too_long`, `tensor_mismatch`, `state_mismatch`, `loss_not_finite`, `adapter_unchanged`, `quota_exceeded`,
         *   `engine_failed`, `out_of_memory`, `disk_full`, `io_failed`.
         */
        @JvmOverloads
        public fun personalize(
            name: String,
            photos: List<Pixels>,
            prompt: String,
            settings: PersonalizationSettings = PersonalizationSettings(),
        ): Flow<RunEvent> =
            runs.events { control ->
                requirePhotos(photos.size)
                PersonalizerRun(painter, store, name, settings, surroundings, control).run(photos.size) {
                    val tokenizer = Tokenizer(painter.bundle, painter.text)
                    Subject(photos, tokenizer.encode(prompt), settings.classPrompt?.let(tokenizer::encode))
                }
            }

        /** Lets the step under way end, saves, and ends the run at work with [RunEvent.Stopped]. */
        public fun pause(): Unit = runs.pause()

        /** Forgets the run of that name; kept adapters stay. */
        public suspend fun discard(name: String): Unit = Runs.alone { RunFolder(store, name).discard() }

        /**
         * Makes a picture.
         *
         * @param prompt what it shows.
         * @param adapter the name of a kept adapter; null: the model as it came.
         * @param seed what its noise is drawn from; an unsigned 64-bit integer.
         * @param steps denoising steps; null: as the bundle says.
         * @param guidance how closely it follows the prompt; null: as the bundle says.
         */
        public suspend fun generate(
            prompt: String,
            adapter: String? = null,
            seed: Long = 0,
            steps: Int? = null,
            guidance: Double? = null,
        ): Picture =
            Runs.alone {
                steps?.let { requireRange("steps", it, 1..painter.generation.trainTimesteps) }
                requireReal("guidance", guidance, MOST_GUIDANCE)
                val hyper = painter.generation.hyper + guidance?.let { mapOf("guidance" to it) }.orEmpty()
                val ids = Tokenizer(painter.bundle, painter.text).encode(prompt)
                draw(ids, adapter, seed, steps ?: painter.generation.steps, hyper)
            }

        private fun draw(
            ids: LongArray,
            adapter: String?,
            seed: Long,
            steps: Int,
            hyper: Map<String, Double>,
        ): Picture {
            val bundle = painter.bundle
            val batch = Batch(listOf(ids, painter.text.unconditionalIds.toLongArray()))
            val state = State(bundle, stateOfGeneration(bundle) + painter.adapter.tensors)
            adapter?.let { readViews(store.adapterFile(it), painter.adapterTensor, state.now(painter.adapter.tensors)) }
            val caches = MemoryCache()
            Denoise(bundle, painter.engine, seed, steps, hyper).run(batch, listOf(0), state, caches) { _, _ -> }
            val feed = Feed(seed, hyper, batch, state, caches)
            return Executor(painter.engine, bundle, painter.generation.outputProgram, feed).use { decoder ->
                decoder.run(Item())
                picture(decoder.result())
            }
        }

        private fun picture(values: ByteBuffer): Picture {
            val (height, width) = painter.image
            val plane = height * width
            if (values.capacity() != 3 * plane * DType.FLOAT32.bytes) {
                throw PocketTuneException(
                    ErrorCode.BUNDLE_MANIFEST_INVALID,
                    "the picture's size is not the manifest's: export the bundle again",
                )
            }
            val rgb = ByteArray(3 * plane) { byteOf(values.getFloat((it % 3 * plane + it / 3) * DType.FLOAT32.bytes)) }
            return Picture(width, height, rgb)
        }

        /** [-1, 1] as 0 to 255, halves up; NaN becomes 0. */
        private fun byteOf(value: Float): Byte {
            val scaled = floor((value.toDouble() + 1.0) * HALF_RANGE + 0.5)
            return (if (scaled > 0.0) minOf(scaled, 255.0).toInt() else 0).toByte()
        }

        private fun requirePhotos(photos: Int) {
            if (photos < 1) throw PocketTuneException(ErrorCode.PHOTOS_TOO_FEW, "there are no photos: give at least one")
        }

        private companion object {
            const val MOST_GUIDANCE = 1000.0
            const val HALF_RANGE = 127.5
        }
    }
