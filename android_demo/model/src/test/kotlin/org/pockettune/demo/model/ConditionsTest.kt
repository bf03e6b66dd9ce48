package org.pockettune.demo.model

import org.pockettune.Condition
import org.pockettune.Conditions
import org.pockettune.DeviceState
import org.pockettune.Failing
import org.pockettune.Needs
import org.pockettune.Reason
import org.pockettune.Thermal
import kotlin.test.Test
import kotlin.test.assertEquals

class ConditionsTest {
    private val good = DeviceState(true, 80, Thermal.NOMINAL, true, true, false, 8_000_000_000, 4_000_000_000)
    private val needs = Needs(memoryBytes = 600_000_000, storageBytes = 10_000_000)

    private fun lights(state: DeviceState) = conditionLines(Conditions.START, state, needs).associate { it.condition to it.light }

    @Test
    fun `each condition has a line, and what nobody asks for is off`() {
        val expected = Condition.entries.associateWith { if (it == Condition.UNMETERED) Light.OFF else Light.GREEN }
        assertEquals(expected, lights(good))
    }

    @Test
    fun `what fails is red, what the phone does not tell is not green`() {
        val lights = lights(good.copy(batteryPercent = 29, thermal = null, availableMemoryBytes = 600_000_000))
        assertEquals(
            listOf(Light.RED, Light.UNKNOWN, Light.RED, Light.GREEN),
            listOf(Condition.BATTERY, Condition.THERMAL, Condition.MEMORY, Condition.CHARGING).map(lights::get),
        )
    }

    @Test
    fun `a line says what the phone says`() {
        val says = conditionLines(Conditions.START, good.copy(charging = null), needs).associate { it.condition to it.says }
        assertEquals("unknown", says[Condition.CHARGING])
        assertEquals("80 %, at least 30 %", says[Condition.BATTERY])
        assertEquals("yes", says[Condition.POWER_SAVE])
        assertEquals("4000 MB available", says[Condition.MEMORY])
    }

    @Test
    fun `a pause says what it waits for`() {
        val failing = listOf(Failing(Condition.CHARGING, Reason.UNMET), Failing(Condition.THERMAL, Reason.UNKNOWN))
        assertEquals("Waiting: on a charger, not too warm (the phone does not tell)", waitingFor(failing))
        assertEquals("Paused", waitingFor(emptyList()))
    }
}
