package org.pockettune

import kotlinx.coroutines.flow.Flow
import org.pockettune.internal.run.Batches
import org.pockettune.internal.run.Classifier
import org.pockettune.internal.run.Executor
import org.pockettune.internal.run.Feed
import org.pockettune.internal.run.Item
import org.pockettune.internal.run.MemoryCache
import org.pockettune.internal.run.RunFolder
import org.pockettune.internal.run.Runs
import org.pockettune.internal.run.Surroundings
import org.pockettune.internal.run.TrainerRun
import org.pockettune.internal.run.expectedSeconds
import org.pockettune.internal.run.preflight
import org.pockettune.internal.run.trainerNeeds

/**
 * Trains, evaluates and predicts with a `classification` bundle on the app's own examples (`docs/sdk.md` 5, 6).
 *
 * @param bundle the bundle; another task is `config_invalid`.
 * @param engine what runs its programs.
 * @param store where runs and kept parameters lie.
 * @param sensors what the phone measures.
 * @param start what has to hold to start.
 * @param goOn what has to hold before every step.
 * @param clock measures the steps.
 */
public class Trainer
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
        private val classifier = Classifier(bundle, engine)
        private val surroundings = Surroundings(sensors, clock, start, goOn)
        private val runs = Runs(surroundings)

        /** Whether a run of so many examples may start now; does no work. */
        @JvmOverloads
        public fun preflight(
            examples: Int,
            settings: TrainingSettings = TrainingSettings(),
        ): Preflight {
            val perEpoch = (examples + classifier.task.batchSize - 1) / classifier.task.batchSize
            val steps = settings.stepsOf(classifier.task, perEpoch)
            return surroundings.preflight(trainerNeeds(classifier, steps), expectedSeconds(classifier.bundle, steps))
        }

        /**
         * Trains, or goes on with a run of that name. Nothing happens before the stream is collected; one collection is one
         * run, on a worker thread of its own. Canceling the collector ends it within one step, the state saved.
         *
         * @param name the run's name, and that of the parameters that it gives.
         * @param examples what is learned.
         * @param settings how; another setting than a saved run's is `state_mismatch`.
         * @param validation what judges whether the result is kept; null: the training examples.
         * @return what happens; the last event is [RunEvent.Stopped] or [RunEvent.Finished]. Errors: `tensor_mismatch`,
         *   `data_invalid`, `state_mismatch`, `loss_not_finite`, `adapter_unchanged`, `quota_exceeded`, `engine_failed`,
         *   `out_of_memory`, `disk_full`, `io_failed`.
         */
        @JvmOverloads
        public fun train(
            name: String,
            examples: Examples,
            settings: TrainingSettings = TrainingSettings(),
            validation: Examples? = null,
        ): Flow<RunEvent> =
            runs.events { control ->
                TrainerRun(classifier, store, name, settings, surroundings, control).run(examples, validation)
            }

        /** Lets the step under way end, saves, and ends the run at work with [RunEvent.Stopped]. */
        public fun pause(): Unit = runs.pause()

        /** Forgets the run of that name; kept parameters stay. */
        public suspend fun discard(name: String): Unit = Runs.alone { RunFolder(store, name).discard() }

        /**
         * How good parameters are.
         *
         * @param examples what they are tried on.
         * @param parameters the name of kept ones; null: the bundle's initial ones.
         */
        public suspend fun evaluate(
            examples: Examples,
            parameters: String? = null,
        ): Evaluation =
            Runs.alone {
                val state = classifier.state(classifier.task.evaluateProgram, parameters?.let(store::adapterFile))
                classifier.evaluate(Batches(examples, classifier.task), state)
            }

        /**
         * What the model says about inputs.
         *
         * @param inputs float32 `[n, ...input_shape]`, row-major.
         * @param parameters the name of kept ones; null: the bundle's initial ones.
         * @param bits of the weights; without a program of so many, `program_missing` names those there are.
         * @return logits `[n, classes]`, row-major.
         */
        public suspend fun predict(
            inputs: FloatArray,
            parameters: String? = null,
            bits: Int = FULL_BITS,
        ): FloatArray =
            Runs.alone {
                val task = classifier.task
                val examples = (inputs.size / elementsOf(task.inputShape)).toInt()
                val program = programOf(bits)
                val batches = Batches(Examples(inputs, IntArray(examples)), task)
                val state = classifier.state(program, parameters?.let(store::adapterFile))
                predictAll(program, batches, Feed(0, emptyMap(), batches.batch, state, MemoryCache()))
            }

        private fun predictAll(
            program: String,
            batches: Batches,
            feed: Feed,
        ): FloatArray {
            val task = classifier.task
            val logits = FloatArray(batches.count * task.classes)
            val order = IntArray(batches.count) { it }
            Executor(classifier.engine, classifier.bundle, program, feed).use { executor ->
                for (begin in order.indices step task.batchSize) {
                    batches.fill(order, begin)
                    executor.run(Item())
                    val rows = minOf(task.batchSize, batches.count - begin)
                    executor.result().asFloatBuffer().get(logits, begin * task.classes, rows * task.classes)
                }
            }
            return logits
        }

        private fun programOf(bits: Int): String =
            classifier.task.predictPrograms.entries.find { it.value == bits }?.key ?: throw PocketTuneException(
                ErrorCode.PROGRAM_MISSING,
                "the bundle predicts with no weights of $bits bits: it has ${classifier.task.predictPrograms.values.sorted()}",
            )

        private companion object {
            const val FULL_BITS = 32
        }
    }

/** How good parameters are on some examples. */
public data class Evaluation(
    /** The number of examples. */
    public val examples: Int,
    /** Mean cross-entropy in nats. */
    public val loss: Double,
    /** Share of right answers, 0 to 1. */
    public val accuracy: Double,
)
