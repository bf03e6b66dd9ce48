package org.pockettune

/** How a classifier trains. What is not given, the bundle says. */
public data class TrainingSettings
    @JvmOverloads
    constructor(
        /** Steps of the run; not together with [epochs]. */
        public val steps: Int? = null,
        /** How often the run takes every example. */
        public val epochs: Int? = null,
        /** What random numbers are drawn from; an unsigned 64-bit integer. */
        public val seed: Long = 0,
        /** Round of learning together, below 2^20. */
        public val round: Int = 0,
        /** Number in learning together, below 2^24. */
        public val client: Int = 0,
        /** Learning rate. */
        public val learningRate: Double? = null,
        /** Name of kept parameters to begin from; null: the bundle's initial ones. */
        public val parameters: String? = null,
        /** Steps from one saved state to the next. */
        public val checkpointEvery: Int = 25,
    ) {
        init {
            if (steps != null && epochs != null) {
                throw PocketTuneException(ErrorCode.CONFIG_INVALID, "steps and epochs are given: give one of them")
            }
            steps?.let { requireRange("steps", it, 1..MOST_STEPS) }
            epochs?.let { requireRange("epochs", it, 1..MOST_STEPS) }
            requireRange("round", round, 0..MOST_STEPS)
            requireRange("client", client, 0..MOST_CLIENTS)
            requireRange("checkpointEvery", checkpointEvery, 1..MOST_STEPS)
            requireReal("learningRate", learningRate)
        }

        internal fun stepsOf(
            task: Classification,
            perEpoch: Int,
        ): Int {
            val wanted = steps?.toLong() ?: ((epochs ?: task.epochs).toLong() * perEpoch)
            if (wanted <= MOST_STEPS) return wanted.toInt()
            throw PocketTuneException(
                ErrorCode.CONFIG_INVALID,
                "$wanted steps are more than a round has: give steps of at most $MOST_STEPS",
            )
        }

        private companion object {
            const val MOST_STEPS = (1 shl 20) - 1
            const val MOST_CLIENTS = (1 shl 24) - 1
        }
    }

internal fun requireRange(
    name: String,
    value: Int,
    range: IntRange,
) {
    if (value in range) return
    throw PocketTuneException(ErrorCode.CONFIG_INVALID, "$name is $value: it must be ${range.first} to ${range.last}")
}

private const val LARGEST_REAL = 1e6

internal fun requireReal(
    name: String,
    value: Double?,
    largest: Double = LARGEST_REAL,
) {
    if (value == null || value in 0.0..largest) return
    throw PocketTuneException(ErrorCode.CONFIG_INVALID, "$name is $value: it must be 0 to $largest")
}
