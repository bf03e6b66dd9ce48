package org.pockettune.demo.model

import org.pockettune.Condition
import org.pockettune.Conditions
import org.pockettune.DeviceState
import org.pockettune.Failing
import org.pockettune.Needs
import org.pockettune.Reason

/** Whether a condition lets a run go on, as the user sees it. */
enum class Light {
    /** It holds. */
    GREEN,

    /** It fails. */
    RED,

    /** The phone does not tell, so it fails too. */
    UNKNOWN,

    /** Nobody asks. */
    OFF,
}

/** One line of the list of conditions: what it is about, what the phone says, and the light. */
data class ConditionLine(
    val condition: Condition,
    val name: String,
    val says: String,
    val light: Light,
)

/** All conditions, those that nobody asks for among them. */
fun conditionLines(
    conditions: Conditions,
    state: DeviceState,
    needs: Needs,
): List<ConditionLine> {
    val failing = conditions.failing(state, needs).associate { it.condition to it.reason }
    return Condition.entries.map { condition ->
        val light =
            when (failing[condition]) {
                Reason.UNMET -> Light.RED
                Reason.UNKNOWN -> Light.UNKNOWN
                null -> if (isAsked(conditions, condition)) Light.GREEN else Light.OFF
            }
        ConditionLine(condition, nameOf(condition), says(condition, state, conditions), light)
    }
}

/** A sentence for a person: what is waited for. */
fun waitingFor(failing: List<Failing>): String =
    if (failing.isEmpty()) {
        "Paused"
    } else {
        failing.joinToString(prefix = "Waiting: ") { (condition, reason) ->
            nameOf(condition) + if (reason == Reason.UNKNOWN) " (the phone does not tell)" else ""
        }
    }

private fun isAsked(
    conditions: Conditions,
    condition: Condition,
): Boolean =
    when (condition) {
        Condition.CHARGING -> conditions.charging
        Condition.BATTERY -> conditions.minimumBatteryPercent > 0
        Condition.THERMAL -> conditions.maximumThermal != null
        Condition.IDLE -> conditions.idle
        Condition.UNMETERED -> conditions.unmetered
        Condition.POWER_SAVE -> conditions.powerSave
        Condition.STORAGE, Condition.MEMORY -> true
    }

private fun nameOf(condition: Condition): String =
    when (condition) {
        Condition.CHARGING -> "on a charger"
        Condition.BATTERY -> "battery"
        Condition.THERMAL -> "not too warm"
        Condition.IDLE -> "nobody uses the phone"
        Condition.UNMETERED -> "unmetered network"
        Condition.POWER_SAVE -> "not saving power"
        Condition.STORAGE -> "room on the disk"
        Condition.MEMORY -> "memory"
    }

private fun says(
    condition: Condition,
    state: DeviceState,
    conditions: Conditions,
): String =
    when (condition) {
        Condition.CHARGING -> state.charging?.let(::yesNo)
        Condition.BATTERY -> state.batteryPercent?.let { "$it %, at least ${conditions.minimumBatteryPercent} %" }
        Condition.THERMAL -> state.thermal?.name?.lowercase()
        Condition.IDLE -> state.idle?.let(::yesNo)
        Condition.UNMETERED -> state.unmetered?.let(::yesNo)
        Condition.POWER_SAVE -> state.powerSave?.let { yesNo(!it) }
        Condition.STORAGE -> state.freeStorageBytes?.let { "${megabytes(it)} free" }
        Condition.MEMORY -> state.availableMemoryBytes?.let { "${megabytes(it)} available" }
    } ?: "unknown"

private fun yesNo(value: Boolean): String = if (value) "yes" else "no"
