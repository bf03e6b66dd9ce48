package org.pockettune.guides

import org.pockettune.Bundle
import org.pockettune.Conditions
import org.pockettune.DeviceState
import org.pockettune.Engine
import org.pockettune.Needs
import org.pockettune.Personalizer
import org.pockettune.Preflight
import org.pockettune.Sensors
import org.pockettune.Store
import org.pockettune.Thermal

// guide: preflight

/** What to tell the person before anything starts. */
public fun mayStart(
    personalizer: Personalizer,
    photos: Int,
): String =
    when (val answer = personalizer.preflight(photos)) {
        is Preflight.Go -> "takes ${answer.peakBytes shr 20} MiB" + (answer.expectedSeconds?.let { " and ${it.toInt()} s" } ?: "")
        is Preflight.Blocked -> "not now: " + answer.failing.joinToString { "${it.condition.id} is ${it.reason.name.lowercase()}" }
    }

// end guide

// guide: watched

/** A run that its user asked for and watches: no charger, no idleness; heat, battery, storage and memory count. */
public fun watched(
    bundle: Bundle,
    engine: Engine,
    store: Store,
    sensors: Sensors,
): Personalizer =
    Personalizer(
        bundle,
        engine,
        store,
        sensors,
        start = Conditions.START.copy(charging = false, idle = false),
        goOn = Conditions.CONTINUE.copy(charging = false, idle = false),
    )

// end guide

// guide: test

/** In a test the sensors say what the test wants: here, a phone that becomes too warm. */
public fun becomesTooWarm(): List<String> {
    var now = DeviceState(charging = true, batteryPercent = 80, thermal = Thermal.LIGHT, idle = true, powerSave = false)
    now = now.copy(freeStorageBytes = 8L shl 30, availableMemoryBytes = 4L shl 30)
    val needs = Needs(memoryBytes = 600L shl 20, storageBytes = 50L shl 20)
    val before = Conditions.START.failing(now, needs)
    now = now.copy(thermal = Thermal.MODERATE)
    return (before + Conditions.CONTINUE.failing(now, needs)).map { it.condition.id }
}

// end guide
