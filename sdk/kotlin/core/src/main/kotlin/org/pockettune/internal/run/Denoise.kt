package org.pockettune.internal.run

import org.pockettune.Binding
import org.pockettune.Bundle
import org.pockettune.DType
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.Generation
import org.pockettune.PocketTuneException
import org.pockettune.Scope
import org.pockettune.internal.RandomKey
import org.pockettune.internal.fillNormal

/** From prompts to latents: the part of making pictures that personalization shares for its class pictures. */
internal class Denoise(
    private val bundle: Bundle,
    private val engine: Engine,
    private val seed: Long,
    private val steps: Int,
    private val hyper: Map<String, Double>,
) {
    private val generation: Generation = generationOf(bundle)

    init {
        if (steps > generation.trainTimesteps) {
            throw PocketTuneException(
                ErrorCode.BUNDLE_MANIFEST_INVALID,
                "generation has $steps steps, more than its ${generation.trainTimesteps} timesteps: export the bundle again",
            )
        }
    }

    /**
     * Makes the latents of pictures 0 to size of [prompts] - 1; each prompt is an index into the batch's, whose last entry is
     * the unconditional one. Leaves them in the picture cache of [caches]. [onStep] is called before every step.
     */
    fun run(
        batch: Batch,
        prompts: List<Int>,
        state: State,
        caches: MemoryCache,
        onStep: (picture: Int, step: Int) -> Unit,
    ) {
        val feed = Feed(seed, hyper, batch, state, caches)
        val unconditional = batch.prompts.lastIndex
        Executor(engine, bundle, generation.promptProgram, feed).use { encoder ->
            for (prompt in (prompts + unconditional).toSortedSet()) encoder.run(Item(prompt = prompt))
        }
        val timesteps = samplerTimesteps(generation.spacing, generation.trainTimesteps, steps, generation.stepsOffset)
        Executor(engine, bundle, generation.stepProgram, feed).use { program ->
            for ((picture, prompt) in prompts.withIndex()) {
                drawFirstLatents(picture, caches)
                for ((step, timestep) in timesteps.withIndex()) {
                    onStep(picture, step)
                    program.run(Item(prompt = prompt, unconditional = unconditional, picture = picture, timestep = timestep))
                }
            }
        }
    }

    private fun drawFirstLatents(
        picture: Int,
        caches: MemoryCache,
    ) {
        val name = pictureCache(bundle)
        val cache = bundle.manifest.caches.getValue(name)
        val noise = directBuffer(cache.bytes)
        fillNormal(RandomKey(seed, checkNotNull(cache.initialStream), picture.toLong()), noise)
        val stored = directBuffer(cache.storedBytes)
        Conversion(noise, cache.dtype, stored, cache.stored).toStored()
        caches.write(name, picture.toLong(), stored)
    }
}

internal fun generationOf(bundle: Bundle): Generation =
    bundle.manifest.generation ?: throw PocketTuneException(
        ErrorCode.CONFIG_INVALID,
        "the bundle's task is '${bundle.manifest.task}': a personalizer takes text_to_image bundles",
    )

/** The cache that holds a picture while it is made. Raises `bundle_manifest_invalid` when the bundle has not exactly one. */
internal fun pictureCache(bundle: Bundle): String {
    val names =
        bundle.program(generationOf(bundle).stepProgram).outputs.mapNotNull { (it.binding as? Binding.Cache)?.name }
    val name = names.singleOrNull()
    val cache = name?.let { bundle.manifest.caches.getValue(it) }
    if (cache?.scope == Scope.PICTURE && cache.initialStream != null && cache.dtype == DType.FLOAT32) return name
    throw PocketTuneException(
        ErrorCode.BUNDLE_MANIFEST_INVALID,
        "the generation step must update one float32 cache of scope picture that begins as random.normal: export the bundle again",
    )
}

/** Names of the state tensors that the programs of generation use. */
internal fun stateOfGeneration(bundle: Bundle): Set<String> {
    val generation = generationOf(bundle)
    return listOf(generation.promptProgram, generation.stepProgram, generation.outputProgram)
        .flatMapTo(HashSet()) { stateOf(bundle.program(it)) }
}
