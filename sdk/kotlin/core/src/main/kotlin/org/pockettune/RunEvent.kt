package org.pockettune

import java.nio.file.Path

/** What a run says while it works (`docs/sdk.md` 5). The last one is [Stopped] or [Finished]. */
public sealed interface RunEvent {
    /** The run goes on from a saved state. */
    public data class Resumed(
        /** Steps that were done before. */
        public val step: Int,
    ) : RunEvent

    /** A part of the preparation is done. */
    public data class Prepared(
        /** The program that did it. */
        public val program: String,
        /** Parts that are done. */
        public val done: Int,
        /** Parts in all. */
        public val of: Int,
    ) : RunEvent

    /** A step is done. */
    public data class Stepped(
        /** Steps that are done. */
        public val step: Int,
        /** Steps in all. */
        public val of: Int,
        /** Its loss. */
        public val loss: Float,
        /** How long it took. */
        public val seconds: Double,
    ) : RunEvent

    /** The state is saved. */
    public data class Checkpointed(
        /** Steps that it holds. */
        public val step: Int,
    ) : RunEvent

    /** A saved file is damaged and is not used; the run makes it again. */
    public data class Damaged(
        /** The file. */
        public val file: Path,
    ) : RunEvent

    /** The run stopped; what was done is saved. Collecting again goes on. */
    public data class Stopped(
        /** Steps that are saved. */
        public val step: Int,
        /** The conditions that fail; empty when the app paused the run. */
        public val failing: List<Failing>,
    ) : RunEvent

    /** The run is done. */
    public data class Finished(
        /** What it gave. */
        public val result: RunResult,
    ) : RunEvent
}

/** What a run gave. The store keeps it as `result.json` (`spec/runner.md`). */
public data class RunResult(
    /** Whether the result is no worse than what the run began from; if not, nothing was kept. */
    public val accepted: Boolean,
    /** Steps in all. */
    public val steps: Int,
    /** Mean loss of the first 20 steps. */
    public val lossFirst: Double,
    /** Mean loss of the last 20 steps. */
    public val lossLast: Double,
    /** The loss of every step. */
    public val losses: List<Float>,
    /** Mean loss of the examples that judge, before. */
    public val evaluationBefore: Double,
    /** Mean loss of the examples that judge, after. */
    public val evaluationAfter: Double,
    /** L2 norm of what training changed. */
    public val change: Double,
    /** Median seconds of a step of this collection; 0 when no step was left. */
    public val secondsPerStep: Double,
    /** The step that this collection went on from; null when it began anew. */
    public val resumedFrom: Int?,
)

/** Whether a run may start now. */
public sealed interface Preflight {
    /** It may. */
    public data class Go(
        /** Memory that it takes at its peak. */
        public val peakBytes: Long,
        /** Time that it takes; null when nobody measured a step. */
        public val expectedSeconds: Double?,
    ) : Preflight

    /** It may not. */
    public data class Blocked(
        /** The conditions that fail. */
        public val failing: List<Failing>,
    ) : Preflight
}
