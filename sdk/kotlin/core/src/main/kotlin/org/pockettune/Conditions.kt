package org.pockettune

/** How hot the phone is, coolest first. */
public enum class Thermal {
    /** Cool. */
    NOMINAL,

    /** Warm; nothing is slowed down. */
    LIGHT,

    /** Hot enough that much work should be put off. */
    MODERATE,

    /** The phone slows itself down. */
    SEVERE,

    /** The phone has done all that it can to cool down. */
    CRITICAL,

    /** Parts are shut off. */
    EMERGENCY,

    /** The phone is about to turn off. */
    SHUTDOWN,
}

/** What the sensors say; null is unknown. */
public data class DeviceState(
    /** Whether the phone is on a charger. */
    public val charging: Boolean? = null,
    /** 0 to 100. */
    public val batteryPercent: Int? = null,
    /** How hot it is. */
    public val thermal: Thermal? = null,
    /** Whether nobody uses the phone. */
    public val idle: Boolean? = null,
    /** Whether the network costs nothing by the byte. */
    public val unmetered: Boolean? = null,
    /** Whether the phone saves power. */
    public val powerSave: Boolean? = null,
    /** Room on the store's disk. */
    public val freeStorageBytes: Long? = null,
    /** Memory that the app may still take. */
    public val availableMemoryBytes: Long? = null,
)

/** What a piece of work needs. */
public data class Needs(
    /** Memory at its peak. */
    public val memoryBytes: Long,
    /** Room for its files. */
    public val storageBytes: Long,
)

/** One thing that can be asked for, in the order in which failing ones are given. */
public enum class Condition {
    /** The phone is charging. */
    CHARGING,

    /** The battery is full enough. */
    BATTERY,

    /** The phone is cool enough. */
    THERMAL,

    /** Nobody uses the phone. */
    IDLE,

    /** The network costs nothing by the byte. */
    UNMETERED,

    /** The phone does not save power. */
    POWER_SAVE,

    /** There is room on the disk. */
    STORAGE,

    /** There is memory. */
    MEMORY,
    ;

    /** The name in `docs/sdk.md` and in vectors: `power_save`. */
    public val id: String = name.lowercase()
}

/** Why a condition fails. */
public enum class Reason {
    /** The sensor says so. */
    UNMET,

    /** The sensor says nothing. */
    UNKNOWN,
}

/** A condition that fails. */
public data class Failing(
    /** Which one. */
    public val condition: Condition,
    /** Why. */
    public val reason: Reason,
)

/** What has to hold while the app works (`docs/sdk.md` 3). What is asked for and unknown fails. */
public data class Conditions(
    /** Whether to ask for a charger. */
    public val charging: Boolean = true,
    /** The least charge, 0 to 100; 0: not asked. */
    public val minimumBatteryPercent: Int = START_PERCENT,
    /** The hottest level; null: not asked. */
    public val maximumThermal: Thermal? = Thermal.LIGHT,
    /** Whether to ask that nobody uses the phone. */
    public val idle: Boolean = true,
    /** Whether to ask for a network that costs nothing by the byte. */
    public val unmetered: Boolean = false,
    /** Whether to ask that the phone does not save power. */
    public val powerSave: Boolean = true,
    /** Room that stays free on the disk beside what the work needs. */
    public val storageReserveBytes: Long = 64 * MIB,
    /** Memory that stays available beside what the work needs. */
    public val memoryReserveBytes: Long = 64 * MIB,
) {
    init {
        if (minimumBatteryPercent !in 0..FULL_PERCENT) invalid("minimumBatteryPercent", minimumBatteryPercent, "0 to 100")
        if (storageReserveBytes < 0) invalid("storageReserveBytes", storageReserveBytes, "0 or more")
        if (memoryReserveBytes < 0) invalid("memoryReserveBytes", memoryReserveBytes, "0 or more")
    }

    /** The conditions that fail, in the order of [Condition]. */
    public fun failing(
        state: DeviceState,
        needs: Needs,
    ): List<Failing> {
        // Called before every step: no list and no function object while all is well.
        var failing: ArrayList<Failing>? = null
        for (condition in all) {
            val holds = if (asks(condition)) holds(condition, state, needs) else true
            if (holds == true) continue
            val found = failing ?: ArrayList<Failing>().also { failing = it }
            found.add(Failing(condition, if (holds == null) Reason.UNKNOWN else Reason.UNMET))
        }
        return failing ?: emptyList()
    }

    private fun asks(condition: Condition): Boolean =
        when (condition) {
            Condition.CHARGING -> charging
            Condition.BATTERY -> minimumBatteryPercent > 0
            Condition.THERMAL -> maximumThermal != null
            Condition.IDLE -> idle
            Condition.UNMETERED -> unmetered
            Condition.POWER_SAVE -> powerSave
            Condition.STORAGE, Condition.MEMORY -> true
        }

    /** Null when the sensor says nothing. */
    private fun holds(
        condition: Condition,
        state: DeviceState,
        needs: Needs,
    ): Boolean? =
        when (condition) {
            Condition.CHARGING -> state.charging
            Condition.BATTERY -> state.batteryPercent?.let { it >= minimumBatteryPercent }
            Condition.THERMAL -> state.thermal?.let { it <= checkNotNull(maximumThermal) }
            Condition.IDLE -> state.idle
            Condition.UNMETERED -> state.unmetered
            Condition.POWER_SAVE -> state.powerSave?.not()
            Condition.STORAGE -> state.freeStorageBytes?.let { covers(it, needs.storageBytes, storageReserveBytes) }
            Condition.MEMORY -> state.availableMemoryBytes?.let { covers(it, needs.memoryBytes, memoryReserveBytes) }
        }

    /** The defaults. */
    public companion object {
        private const val MIB = 1L shl 20
        private const val START_PERCENT = 30
        private const val CONTINUE_PERCENT = 20
        private const val FULL_PERCENT = 100
        private val all = Condition.entries.toTypedArray()

        /** What has to hold to start. */
        @JvmField
        public val START: Conditions = Conditions()

        /** What has to hold to go on: a little less than to start, so that a run does not start and stop at one limit. */
        @JvmField
        public val CONTINUE: Conditions =
            Conditions(minimumBatteryPercent = CONTINUE_PERCENT, memoryReserveBytes = 32 * MIB)

        // No sum: it may not fit 64 bits.
        private fun covers(
            there: Long,
            needed: Long,
            reserve: Long,
        ): Boolean = there >= reserve && there - reserve >= needed

        private fun invalid(
            name: String,
            value: Any,
            valid: String,
        ): Nothing = throw PocketTuneException(ErrorCode.CONFIG_INVALID, "$name is $value: it must be $valid")
    }
}

/** What a phone measures; an app's tests give their own. */
public fun interface Sensors {
    /** What the sensors say now. */
    public fun read(): DeviceState
}

/** Time; an app's tests give their own. */
public fun interface Clock {
    /** Nanoseconds since some moment; never goes back. */
    public fun nanoseconds(): Long

    /** The clock of the machine. */
    public companion object {
        /** The machine's own. */
        @JvmField
        public val SYSTEM: Clock = Clock { System.nanoTime() }
    }
}
