package org.pockettune.internal.run

import org.pockettune.Clock
import org.pockettune.Conditions
import org.pockettune.Failing
import org.pockettune.Needs
import org.pockettune.RunEvent
import org.pockettune.Sensors

/** What an app gives to every run. */
internal class Surroundings(
    val sensors: Sensors,
    val clock: Clock,
    val start: Conditions,
    val goOn: Conditions,
) {
    fun failingToStart(needs: Needs): List<Failing> = start.failing(sensors.read(), needs)
}

/** Raised inside a run that ends early: paused or canceled when nothing fails. Never leaves the run. */
internal class Stop(
    val failing: List<Failing>,
) : RuntimeException(null, null, false, false)

/** One collection's reins: how it speaks, and how it hears that it shall stop. */
internal class Control(
    private val surroundings: Surroundings,
    private val isActive: () -> Boolean,
    val emit: (RunEvent) -> Unit,
) {
    @Volatile
    private var paused = false

    /** Storage for one checkpoint, which going on needs; set when it is known. */
    var needs = Needs(0, 0)

    val clock: Clock get() = surroundings.clock

    fun pause() {
        paused = true
    }

    /** Raises [Stop] unless another step may run. */
    fun checkMayRun() {
        val failing = surroundings.goOn.failing(surroundings.sensors.read(), needs)
        if (failing.isNotEmpty() || paused || !isActive()) throw Stop(failing)
    }
}
