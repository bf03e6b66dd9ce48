package org.pockettune

/** How a bundle is personalized. What is not given, the bundle says. */
public data class PersonalizationSettings
    @JvmOverloads
    constructor(
        /** Steps of the run. */
        public val steps: Int? = null,
        /** Training samples that are kept; never more than steps. */
        public val samples: Int? = null,
        /** What random numbers are drawn from; an unsigned 64-bit integer. */
        public val seed: Long = 0,
        /** Learning rate. */
        public val learningRate: Double? = null,
        /** Pictures of the class that are made beforehand, so that the model keeps it; 0: none. */
        public val classPictures: Int = 0,
        /** Weight of those pictures in training. */
        public val priorWeight: Double = 0.0,
        /** The prompt of those pictures. */
        public val classPrompt: String? = null,
        /** Steps from one saved state to the next. */
        public val checkpointEvery: Int = 25,
    ) {
        init {
            steps?.let { requireRange("steps", it, 1..MOST_STEPS) }
            samples?.let { requireRange("samples", it, 1..MOST_STEPS) }
            requireRange("classPictures", classPictures, 0..MOST_PICTURES)
            requireRange("checkpointEvery", checkpointEvery, 1..MOST_STEPS)
            requireReal("learningRate", learningRate)
            requireReal("priorWeight", priorWeight)
            val parts = listOf(classPictures > 0, priorWeight > 0, classPrompt != null)
            if (parts.toSet().size > 1) {
                throw PocketTuneException(
                    ErrorCode.CONFIG_INVALID,
                    "prior preservation needs classPictures, priorWeight and classPrompt together",
                )
            }
        }

        private companion object {
            const val MOST_STEPS = 10_000_000
            const val MOST_PICTURES = 100_000
        }
    }
