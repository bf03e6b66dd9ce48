package org.pockettune.demo.model

import org.pockettune.Failing
import org.pockettune.RunEvent

/** Where a run stands, as the user sees it. */
sealed interface Phase {
    /** Nothing was begun. */
    data object Ready : Phase

    /** Work of [of] parts before the first step, of which [done] are done. */
    data class Preparing(
        val done: Int,
        val of: Int,
    ) : Phase

    /** Steps. */
    data class Training(
        val step: Int,
        val of: Int,
        /** From the steps that were seen; null before the first one. */
        val secondsLeft: Double?,
    ) : Phase

    /** Nothing goes on, nothing is lost: conditions fail, or the user paused the run. */
    data class Paused(
        val step: Int,
        val failing: List<Failing>,
    ) : Phase

    /** A picture is drawn, or a recognizer is tried. */
    data object Trying : Phase

    /** The end. What got worse was not kept. */
    data class Done(
        val accepted: Boolean,
        val lossBefore: Double,
        val lossAfter: Double,
    ) : Phase

    /** It failed. */
    data class Failed(
        val message: String,
    ) : Phase

    /** Whether something goes on. */
    val isWorking: Boolean get() = this is Preparing || this is Training || this is Trying
}

/** A run so far. */
data class Progress(
    val phase: Phase = Phase.Ready,
    val losses: List<Float> = emptyList(),
    private val seconds: Double = 0.0,
) {
    /** The run after one more event. */
    fun after(event: RunEvent): Progress =
        when (event) {
            is RunEvent.Resumed -> {
                copy(phase = Phase.Training(event.step, event.step, null))
            }

            is RunEvent.Prepared -> {
                copy(phase = Phase.Preparing(event.done, event.of))
            }

            is RunEvent.Stepped -> {
                stepped(event)
            }

            is RunEvent.Checkpointed, is RunEvent.Damaged -> {
                this
            }

            is RunEvent.Stopped -> {
                copy(phase = Phase.Paused(event.step, event.failing))
            }

            is RunEvent.Finished -> {
                with(event.result) { copy(phase = Phase.Done(accepted, evaluationBefore, evaluationAfter), losses = losses) }
            }
        }

    private fun stepped(event: RunEvent.Stepped): Progress {
        val all = losses + event.loss
        val spent = seconds + event.seconds
        val left = spent / all.size * (event.of - event.step)
        return copy(phase = Phase.Training(event.step, event.of, left), losses = all, seconds = spent)
    }
}

/** One line about a run. */
fun describe(phase: Phase): String =
    when (phase) {
        Phase.Ready -> "Ready"
        is Phase.Preparing -> "Preparing ${phase.done} of ${phase.of}"
        is Phase.Training -> "Step ${phase.step} of ${phase.of}" + phase.secondsLeft?.let { ", ${duration(it)} left" }.orEmpty()
        is Phase.Paused -> "${waitingFor(phase.failing)}. ${phase.step} steps are saved"
        Phase.Trying -> "Trying"
        is Phase.Done -> (if (phase.accepted) "Learned" else "Not kept: it got worse") + losses(phase)
        is Phase.Failed -> phase.message
    }

private fun losses(done: Phase.Done): String =
    ". Loss %.4f before, %.4f after".format(java.util.Locale.ROOT, done.lossBefore, done.lossAfter)

private fun duration(seconds: Double): String {
    val whole = Math.round(seconds)
    return if (whole < MINUTE) "$whole s" else "${(whole + MINUTE / 2) / MINUTE} min"
}

private const val MINUTE = 60
