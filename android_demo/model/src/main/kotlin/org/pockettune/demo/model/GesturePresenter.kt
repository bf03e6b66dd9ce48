package org.pockettune.demo.model

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import kotlin.math.exp

/** A window of motion, and what it shows. */
class Example(
    val window: FloatArray,
    val label: Int,
)

/** What the page needs of the SDK. */
interface Recognizer {
    /** Trains from what every phone has; [validation] judges, the training examples where it is empty. */
    fun train(
        training: List<Example>,
        validation: List<Example>,
    ): Flow<RunEvent>

    /** Share of right answers, 0 to 1, of what every phone has or of what was learned here. */
    suspend fun accuracy(
        examples: List<Example>,
        learned: Boolean,
    ): Double

    /** The logits of the classes. */
    suspend fun predict(
        window: FloatArray,
        learned: Boolean,
    ): FloatArray
}

/** What the recognizer thinks. */
data class Guess(
    val label: Int,
    val probability: Float,
)

/** What the page shows. */
data class GestureState(
    val labels: List<String>,
    /** Windows that were recorded, by label. */
    val recorded: List<Int> = labels.map { 0 },
    /** What is being recorded; null: nothing, motion is recognized. */
    val recording: Int? = null,
    val guess: Guess? = null,
    val learned: Boolean = false,
    val progress: Progress = Progress(),
    val accuracyBefore: Double? = null,
    val accuracyAfter: Double? = null,
) {
    val canTrain: Boolean get() = recording == null && !progress.phase.isWorking && recorded.count { it > 0 } >= 2
}

/** The page on which a person teaches the phone the motions of their own. */
class GesturePresenter(
    private val scope: CoroutineScope,
    private val recognizer: Recognizer,
    labels: List<String>,
) {
    private class Recording(
        val label: Int,
        val windows: MutableList<FloatArray> = mutableListOf(),
    )

    private val mutable = MutableStateFlow(GestureState(labels))
    private val recordings = mutableListOf<Recording>()
    private var training: Job? = null
    private var guessing: Job? = null

    /** What to show. */
    val state: StateFlow<GestureState> = mutable.asStateFlow()

    /** The user begins to show a motion. */
    fun record(label: Int) {
        if (state.value.progress.phase.isWorking) return
        recordings += Recording(label)
        mutable.update { it.copy(recording = label, guess = null) }
    }

    /** The user has shown it. */
    fun stopRecording() = mutable.update { it.copy(recording = null) }

    /** A window of motion: it is kept while recording, else recognized. Those that come while one is looked at are skipped. */
    fun onWindow(window: FloatArray) {
        val now = state.value
        if (now.recording != null) {
            recordings.last().windows += window
            mutable.update {
                it.copy(
                    recorded =
                        it.recorded.mapIndexed { label, count ->
                            if (label ==
                                now.recording
                            ) {
                                count + 1
                            } else {
                                count
                            }
                        },
                )
            }
        } else if (!now.progress.phase.isWorking && guessing?.isActive != true) {
            guessing = launch { mutable.update { it.copy(guess = guess(recognizer.predict(window, now.learned))) } }
        }
    }

    /** Learns the recorded motions, and tells how many are recognized before and after. */
    fun train() {
        if (!state.value.canTrain || training?.isActive == true) return
        val (training, validation) = split()
        val judged = validation.ifEmpty { training }
        this.training =
            launch {
                guessing?.join()
                show(Progress(Phase.Trying))
                val before = recognizer.accuracy(judged, learned = false)
                mutable.update { it.copy(accuracyBefore = before, accuracyAfter = null) }
                recognizer.train(training, validation).collect { show(state.value.progress.after(it)) }
                val done = state.value.progress
                if ((done.phase as? Phase.Done)?.accepted == true) {
                    val after = recognizer.accuracy(judged, learned = true)
                    mutable.update { it.copy(accuracyAfter = after, learned = true) }
                }
            }
    }

    // Windows of one recording overlap, so a recording is on one side whole: every second one of a label judges.
    private fun split(): Pair<List<Example>, List<Example>> {
        val sides = listOf(mutableListOf<Example>(), mutableListOf())
        for ((label, some) in recordings.filter { it.windows.isNotEmpty() }.groupBy { it.label }) {
            some.forEachIndexed { index, recording -> sides[index % 2] += recording.windows.map { Example(it, label) } }
        }
        return sides[0] to sides[1]
    }

    private fun launch(block: suspend () -> Unit): Job =
        scope.launch {
            try {
                block()
            } catch (failure: PocketTuneException) {
                show(state.value.progress.copy(phase = Phase.Failed(failure.message.orEmpty())))
            }
        }

    private fun show(progress: Progress) = mutable.update { it.copy(progress = progress) }
}

/** The likeliest class and its probability (softmax). */
fun guess(logits: FloatArray): Guess {
    val largest = logits.max()
    val label = logits.indexOfFirst { it == largest }
    return Guess(label, 1 / logits.sumOf { exp((it - largest).toDouble()) }.toFloat())
}
