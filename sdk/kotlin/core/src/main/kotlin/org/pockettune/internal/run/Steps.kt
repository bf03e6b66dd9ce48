package org.pockettune.internal.run

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import java.nio.ByteBuffer
import kotlin.math.sqrt

private const val NANOSECONDS = 1e9

/** The steps of a run: how many are done, how many there are, and how often the state is saved. */
internal class Steps(
    val first: Int,
    val end: Int,
    val checkpointEvery: Int,
)

/**
 * Trains from the first step to the end; [item] says what a step is about, and prepares its batch. Gives the seconds of
 * every step. Raises [Stop], with the state saved, and `loss_not_finite`.
 */
internal fun trainSteps(
    program: Executor,
    item: (Int) -> Item,
    steps: Steps,
    checkpoints: Checkpoints,
    state: State,
    losses: Losses,
    control: Control,
): List<Double> {
    val seconds = ArrayList<Double>()
    var saved = steps.first

    fun save(done: Int) {
        if (done == saved) return
        checkpoints.save(state, losses, done)
        saved = done
        control.emit(RunEvent.Checkpointed(done))
    }

    for (step in steps.first until steps.end) {
        try {
            control.checkMayRun()
        } catch (stop: Stop) {
            save(step)
            throw stop
        }
        val begin = control.clock.nanoseconds()
        program.run(item(step))
        val loss = program.loss()
        seconds.add((control.clock.nanoseconds() - begin) / NANOSECONDS)
        if (!loss.isFinite()) {
            throw PocketTuneException(
                ErrorCode.LOSS_NOT_FINITE,
                "the loss of step ${step + 1} is not finite: use a smaller learning rate and another name",
            )
        }
        losses[step] = loss
        val done = step + 1
        control.emit(RunEvent.Stepped(done, steps.end, loss, seconds.last()))
        if (done % steps.checkpointEvery == 0 || done == steps.end) save(done)
    }
    return seconds
}

/** L2 norm of the change of a trained tensor; [what] is its name for people. Raises `adapter_unchanged`, `loss_not_finite`. */
internal fun changeSince(
    before: ByteBuffer,
    after: ByteBuffer,
    what: String,
): Double {
    var sum = 0.0
    for (at in 0 until after.capacity() step Float.SIZE_BYTES) {
        val difference = after.getFloat(at).toDouble() - before.getFloat(at).toDouble()
        sum += difference * difference
    }
    if (!sum.isFinite()) {
        throw PocketTuneException(
            ErrorCode.LOSS_NOT_FINITE,
            "the $what is not finite: use a smaller learning rate and another name",
        )
    }
    if (sum == 0.0) {
        throw PocketTuneException(
            ErrorCode.ADAPTER_UNCHANGED,
            "training changed nothing, so no $what was kept: use a larger learning rate or more steps",
        )
    }
    return sqrt(sum)
}

/** 0 when there are none. */
internal fun median(values: List<Double>): Double {
    if (values.isEmpty()) return 0.0
    val sorted = values.sorted()
    val half = sorted.size / 2
    return if (sorted.size % 2 == 1) sorted[half] else (sorted[half - 1] + sorted[half]) / 2
}
