package org.pockettune

/** What a cache's items, or draws of random numbers, are counted by (`spec/bundle.md` 3, `spec/random.md`). */
public enum class Scope {
    /** A tokenized prompt. */
    PROMPT,

    /** A photo. */
    PHOTO,

    /** A training sample. */
    SAMPLE,

    /** A generated picture. */
    PICTURE,

    /** A training step. */
    STEP,

    /** A round of learning together. */
    ROUND,

    /** A client of learning together. */
    CLIENT,
    ;

    /** The name in a manifest: `prompt`. */
    public val id: String = name.lowercase()

    /** Whether a cache may have this scope. */
    public val isOfCaches: Boolean get() = this <= PICTURE
}

/** What a program's input gets, or where its output goes (`spec/bundle.md` 3). */
public sealed interface Binding {
    /** An input from the app's data: `batch.pixels`. */
    public data class Batch(
        /** The part after `batch.`. */
        public val name: String,
    ) : Binding

    /** A tensor of the state: its current value, or its new one. */
    public data class State(
        /** A name of [Manifest.tensors]. */
        public val name: String,
    ) : Binding

    /** A cache's value for the item at hand. */
    public data class Cache(
        /** A name of [Manifest.caches]. */
        public val name: String,
        /** Whether the item is the unconditional prompt, where two prompts are needed. */
        public val unconditional: Boolean,
    ) : Binding

    /** An input of random numbers. */
    public sealed interface Random : Binding {
        /** The stream, 0 to 2^32 - 1. */
        public val stream: Long

        /** What the draws are counted by. */
        public val index: Scope
    }

    /** Standard normal numbers. */
    public data class RandomNormal(
        override val stream: Long,
        override val index: Scope,
    ) : Random

    /** Uniform numbers between 0 and 1. */
    public data class RandomUniform(
        override val stream: Long,
        override val index: Scope,
    ) : Random

    /** Integers from [low] to below [high]; their difference is 1 to 2^32. */
    public data class RandomInteger(
        override val stream: Long,
        override val index: Scope,
        /** The smallest number. */
        public val low: Long,
        /** One more than the largest number. */
        public val high: Long,
    ) : Random

    /** A number that fills the input: a setting, or what the sampler gives. */
    public data class Hyper(
        /** The part after `hyper.`. */
        public val name: String,
    ) : Binding

    /** The loss: one float32 number. */
    public data object Loss : Binding

    /** Another measured number: one float32. */
    public data class Metric(
        /** The part after `metric.`. */
        public val name: String,
    ) : Binding

    /** A result. */
    public data class Output(
        /** The part after `output.`. */
        public val name: String,
    ) : Binding
}

/** One input or output of a program, in the program's positional order. */
public data class Argument(
    /** The name in the program; for people and for `run`. */
    public val name: String,
    /** The elements' type. */
    public val dtype: DType,
    /** The sizes, row-major; empty for a single number. */
    public val shape: List<Int>,
    /** What it gets, or where it goes. */
    public val binding: Binding,
) {
    /** The number of elements. */
    public val elements: Long get() = elementsOf(shape)

    /** Bytes of the whole tensor, at most 2^40. */
    public val bytes: Long get() = elements * dtype.bytes
}

/** The product of sizes that were checked to stay within 2^40. */
internal fun elementsOf(shape: List<Int>): Long = shape.fold(1L) { product, size -> product * size }
