package org.pockettune

/**
 * What a bundle says about itself (`spec/bundle.md` 3), checked: every name names something, and two descriptions of one
 * thing agree. `method` and `parity` are for people and tools; a device never looks at them.
 */
public data class Manifest(
    /** 64 lower-case hexadecimal digits that stand for every byte of the bundle. */
    public val bundleId: String,
    /** The signature: base64 of 64 bytes, or empty. */
    public val signature: String,
    /** A text for people. */
    public val name: String,
    /** What the bundle is for: [TEXT_TO_IMAGE], [CLASSIFICATION], or another one of later times. */
    public val task: String,
    /** Versions of the tools that made it; `executorch` is the runtime's. */
    public val tools: Map<String, String>,
    /** Bits of a frozen weight: 8 or 32. */
    public val frozenBits: Int,
    /** The files, by their path in the bundle's folder. */
    public val files: Map<String, FileEntry>,
    /** The tensors of the state. */
    public val tensors: Map<String, StateTensor>,
    /** What programs hand to one another. */
    public val caches: Map<String, Cache>,
    /** The programs. */
    public val programs: Map<String, Program>,
    /** Names of the programs that run before training, in order. */
    public val preparation: List<String>,
    /** How the bundle trains. */
    public val training: Training,
    /** How it makes pictures. */
    public val generation: Generation?,
    /** How it reads prompts. */
    public val text: TextEncoding?,
    /** The size of its photos and pictures. */
    public val image: ImageSize?,
    /** How the trained adapter is written as a file. */
    public val adapter: AdapterLayout?,
    /** How a client trains and is measured. */
    public val classification: Classification?,
    /** What is known of the programs' memory and time, by program. */
    public val budget: Map<String, ProgramBudget>,
) {
    /** The tasks that this version knows. */
    public companion object {
        /** Pictures after a text. */
        public const val TEXT_TO_IMAGE: String = "text_to_image"

        /** Classes of examples. */
        public const val CLASSIFICATION: String = "classification"
    }
}

/** One file of a bundle. */
public data class FileEntry(
    /** 64 lower-case hexadecimal digits. */
    public val sha256: String,
    /** Its size, at most 2^53 - 1. */
    public val bytes: Long,
)

/** What a tensor of the state is for. */
public enum class Role {
    /** Trained beside a frozen model. */
    ADAPTER,

    /** A whole model that is trained. */
    MODEL,

    /** A running mean of an optimizer. */
    MOMENT,

    /** Gradients that are gathered over several calls. */
    ACCUMULATOR,

    /** Steps or calls, counted. */
    COUNTER,
}

/** A named part of a tensor that packs many. */
public data class View(
    /** The name in adapter and parameter files. */
    public val name: String,
    /** Its sizes. */
    public val shape: List<Int>,
    /** Where it begins, in elements of the pack. */
    public val offset: Long,
)

/** A tensor that training changes. */
public data class StateTensor(
    /** The elements' type. */
    public val dtype: DType,
    /** The sizes, row-major. */
    public val shape: List<Int>,
    /** What it is for. */
    public val role: Role,
    /** The safetensors file with the initial value under the tensor's name; null: zeros. */
    public val file: String?,
    /** The parts, in order and without gaps; empty when the tensor is no pack. */
    public val views: List<View>,
) {
    /** Bytes of the whole tensor, at most 2^40. */
    public val bytes: Long get() = elementsOf(shape) * dtype.bytes
}

/** What programs hand to one another: one value for each item of the scope. */
public data class Cache(
    /** The type in which it is computed. */
    public val dtype: DType,
    /** The sizes of one value. */
    public val shape: List<Int>,
    /** The type in which it is kept: [dtype], or float16 for float32. */
    public val stored: DType,
    /** What its items are. */
    public val scope: Scope,
    /** The stream of the normal numbers that a program's first value is drawn from; null: none. */
    public val initialStream: Long?,
) {
    /** Bytes of one value as it is computed. */
    public val bytes: Long get() = elementsOf(shape) * dtype.bytes

    /** Bytes of one value as it is kept. */
    public val storedBytes: Long get() = elementsOf(shape) * stored.bytes
}

/** Where an engine finds a program. */
public data class EngineProgram(
    /** A name of [Manifest.files]. */
    public val file: String,
    /** The method's name inside the file. */
    public val method: String,
)

/** One program. */
public data class Program(
    /** By the engine's name: `executorch`. */
    public val engines: Map<String, EngineProgram>,
    /** What it takes, in order. */
    public val inputs: List<Argument>,
    /** What it gives, in order. */
    public val outputs: List<Argument>,
)

/** How a bundle trains. */
public data class Training(
    /** The program of one step. */
    public val program: String,
    /** Steps of a run. */
    public val steps: Int,
    /** Training samples that are kept. */
    public val samples: Int,
    /** Calls of the program for one update. */
    public val accumulation: Int,
    /** Settings and their defaults. */
    public val hyper: Map<String, Double>,
)

/** How the timesteps of a sampler are spread (`spec/bundle.md` 5). */
public enum class Spacing {
    /** From the last timestep down. */
    TRAILING,

    /** From the first timestep up. */
    LEADING,
}

/** How a bundle makes pictures. */
public data class Generation(
    /** The program of one denoising step. */
    public val stepProgram: String,
    /** The program that turns latents into a picture. */
    public val outputProgram: String,
    /** The program that reads a prompt. */
    public val promptProgram: String,
    /** Denoising steps of a picture. */
    public val steps: Int,
    /** Timesteps of the model's noise. */
    public val trainTimesteps: Int,
    /** How the timesteps are spread. */
    public val spacing: Spacing,
    /** Added to each timestep when they lead. */
    public val stepsOffset: Long,
    /** Settings and their defaults. */
    public val hyper: Map<String, Double>,
)

/** How a bundle reads prompts. */
public data class TextEncoding(
    /** Tokens of a prompt, start and end among them. */
    public val maxLength: Int,
    /** The file with the vocabulary of the tokenizer. */
    public val vocabularyFile: String,
    /** The file with the merges of the tokenizer. */
    public val mergesFile: String,
    /** The ids of the prompt that says nothing: [maxLength] of them. */
    public val unconditionalIds: List<Long>,
)

/** Pixels of a photo and of a picture. */
public data class ImageSize(
    /** Rows. */
    public val height: Int,
    /** Columns. */
    public val width: Int,
)

/** How the trained adapter is written as a file. */
public data class AdapterLayout(
    /** A name of [Manifest.tensors]; its views are the file's tensors. */
    public val tensors: String,
    /** The file's metadata. */
    public val metadata: Map<String, String>,
)

/** How a client trains a classifier. */
public data class Classification(
    /** The sizes of one example. */
    public val inputShape: List<Int>,
    /** The number of classes. */
    public val classes: Int,
    /** Examples of a step. */
    public val batchSize: Int,
    /** Epochs of a run, unless the caller says how many steps. */
    public val epochs: Int,
    /** A name of [Manifest.tensors]: the model's parameters. */
    public val parameters: String,
    /** The program that measures loss and accuracy. */
    public val evaluateProgram: String,
    /** The programs that predict, and the bits of their weights. */
    public val predictPrograms: Map<String, Int>,
)

/** What is known of a program's memory and time. */
public data class ProgramBudget(
    /** Memory that the program plans. */
    public val arenaBytes: Long,
    /** Weights that it reads. */
    public val weightBytes: Long,
    /** What was measured where the bundle was made, by figure: `median_seconds`, `peak_pss_bytes`; empty when nothing was. */
    public val measured: Map<String, Double>,
)
