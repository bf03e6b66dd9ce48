package org.pockettune

import org.pockettune.internal.JsonBoolean
import org.pockettune.internal.JsonInteger
import org.pockettune.internal.JsonNull
import org.pockettune.internal.JsonObject
import org.pockettune.internal.JsonText
import org.pockettune.internal.JsonValue
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** `spec/vectors/sdk/conditions.json`. */
class ConditionsTest {
    private val json = readJson(vectors.resolve("sdk/conditions.json"))

    private fun conditions(entry: JsonValue) =
        Conditions(
            charging = checkNotNull(entry["charging"].boolean),
            minimumBatteryPercent = entry["minimum_battery_percent"].long.toInt(),
            maximumThermal = thermal(entry["maximum_thermal"]),
            idle = checkNotNull(entry["idle"].boolean),
            unmetered = checkNotNull(entry["unmetered"].boolean),
            powerSave = checkNotNull(entry["power_save"].boolean),
            storageReserveBytes = entry["storage_reserve_bytes"].long,
            memoryReserveBytes = entry["memory_reserve_bytes"].long,
        )

    private fun state(entry: JsonValue) =
        DeviceState(
            charging = entry["charging"].boolean,
            batteryPercent = entry["battery_percent"].number?.toInt(),
            thermal = thermal(entry["thermal"]),
            idle = entry["idle"].boolean,
            unmetered = entry["unmetered"].boolean,
            powerSave = entry["power_save"].boolean,
            freeStorageBytes = entry["free_storage_bytes"].number,
            availableMemoryBytes = entry["available_memory_bytes"].number,
        )

    private fun thermal(value: JsonValue) = (value as? JsonText)?.let { Thermal.valueOf(it.value.uppercase()) }

    private val JsonValue.boolean: Boolean? get() = (this as? JsonBoolean)?.value.also { check(it != null || this === JsonNull) }

    private val JsonValue.number: Long? get() = (this as? JsonInteger)?.value.also { check(it != null || this === JsonNull) }

    private fun ids(failing: List<Failing>) = failing.map { listOf(it.condition.id, it.reason.name.lowercase()) }

    private fun expected(entry: JsonValue) = entry["failing"].items.map { pair -> pair.items.map { it.text } }

    @Test
    fun `the defaults are the written ones`() {
        assertEquals(conditions(json["defaults"]["start"]), Conditions.START)
        assertEquals(conditions(json["defaults"]["continue"]), Conditions.CONTINUE)
    }

    @Test
    fun `every case fails what it has to, in order`() {
        assertTrue(json["cases"].items.size > 50)
        for (entry in json["cases"].items) {
            val needs = Needs(entry["needs"]["memory_bytes"].long, entry["needs"]["storage_bytes"].long)
            val found = conditions(entry["conditions"]).failing(state(entry["state"]), needs)
            assertEquals(expected(entry), ids(found), entry["name"].text)
        }
    }

    @Test
    fun `runs stop where the written ones do`() {
        for (run in json["runs"].items) {
            var sensors = (run["state"] as JsonObject).members
            val changes = (run["changes"] as JsonObject).members

            fun read(moment: String): DeviceState {
                sensors = sensors + (changes[moment] as? JsonObject)?.members.orEmpty()
                return state(JsonObject(sensors))
            }
            var done = 0
            var failing = Conditions.START.failing(read("start"), Needs(0, 0))
            while (failing.isEmpty() && done < run["steps"].long) {
                failing = Conditions.CONTINUE.failing(read("$done"), Needs(0, 0))
                if (failing.isEmpty()) done++
            }
            assertEquals(run["completed_steps"].long, done.toLong(), run["name"].text)
            assertEquals(expected(run), ids(failing), run["name"].text)
        }
    }

    @Test
    fun `settings out of range are refused`() {
        for (make in listOf({ Conditions(minimumBatteryPercent = 101) }, { Conditions(memoryReserveBytes = -1) })) {
            assertEquals(ErrorCode.CONFIG_INVALID, assertFailsWith<PocketTuneException> { make() }.code)
        }
    }
}
