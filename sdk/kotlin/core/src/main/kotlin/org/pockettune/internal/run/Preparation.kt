package org.pockettune.internal.run

import org.pockettune.Binding
import org.pockettune.Bundle
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent
import org.pockettune.Scope
import org.pockettune.internal.TensorEntry
import org.pockettune.internal.shown
import java.nio.file.Path

/** The resolved settings of one personalization. */
internal class Personalization(
    val seed: Long,
    val steps: Int,
    val samples: Int,
    val hyper: Map<String, Double>,
    val photos: Int,
    val classPictures: Int,
    val priorWeight: Double,
) {
    private val prompts = if (classPictures > 0) 2 else 1

    /** What a training sample is made of (`spec/bundle.md` 4). */
    fun item(sample: Int): Item =
        when {
            classPictures == 0 -> Item(photo = sample % photos, sample = sample)
            sample % 2 == 0 -> Item(photo = sample / 2 % photos, sample = sample)
            else ->
                Item(
                    prompt = 1,
                    photo = photos + sample / 2 % classPictures,
                    sample = sample,
                    weight = priorWeight.toFloat(),
                )
        }

    /** How often a preparing program of that scope runs. */
    fun items(scope: Scope): Int =
        when (scope) {
            Scope.PROMPT -> prompts
            Scope.PHOTO -> photos
            else -> samples
        }

    val counts: Map<Scope, Long>
        get() =
            mapOf(
                Scope.PROMPT to prompts.toLong(),
                Scope.PHOTO to photos.toLong() + classPictures,
                Scope.SAMPLE to samples.toLong(),
            )
}

/** What the frozen net says about every photo, prompt and sample, computed once before training. */
internal class Preparation(
    private val bundle: Bundle,
    private val engine: Engine,
    private val settings: Personalization,
) {
    private val programs = bundle.manifest.preparation
    private val names: Set<String> = programs.flatMapTo(HashSet()) { cachesOf(it) }
    private val entries: List<TensorEntry> = cacheEntries(bundle.manifest, names, settings.counts)

    init {
        programs.forEach(::scopeOf) // refuses what no training item counts
    }

    /** Bytes of the file that it fills. */
    val bytes: Long get() = entries.maxOfOrNull { it.end } ?: 0

    /**
     * Runs the programs, unless the work folder holds their results, and gives these. [batch] has the subject's prompt, the
     * class's when there is one, and the unconditional one. Raises [Stop] between two runs.
     */
    fun run(
        batch: Batch,
        work: Path,
        identity: Map<String, String>,
        control: Control,
    ): CacheFile {
        val caches = CacheFile(work.resolve("cache.bin"), entries, identity) { control.emit(RunEvent.Damaged(it)) }
        var isFilled = caches.isComplete
        try {
            if (isFilled) return caches
            if (settings.classPictures > 0) makeClassPictures(batch, caches, control)
            val state = State(bundle, programs.flatMapTo(HashSet()) { stateOf(bundle.program(it)) })
            val feed = Feed(settings.seed, settings.hyper, batch, state, caches)
            for (name in programs) fill(name, feed, control)
            caches.finish()
            isFilled = true
            return caches
        } finally {
            if (!isFilled) caches.close()
        }
    }

    private fun fill(
        name: String,
        feed: Feed,
        control: Control,
    ) {
        val scope = scopeOf(name)
        val count = settings.items(scope)
        Executor(engine, bundle, name, feed).use { program ->
            for (index in 0 until count) {
                control.checkMayRun()
                program.run(
                    when (scope) {
                        Scope.SAMPLE -> settings.item(index)
                        Scope.PROMPT -> Item(prompt = index)
                        else -> Item(photo = index)
                    },
                )
                control.emit(RunEvent.Prepared(name, index + 1, count))
            }
        }
    }

    /** Class pictures are made by the net itself, before it learns; their latents stand behind the photos'. */
    private fun makeClassPictures(
        batch: Batch,
        caches: CacheFile,
        control: Control,
    ) {
        val generation = generationOf(bundle)
        val target = photoLatents()
        val pictures = MemoryCache()
        val count = settings.classPictures
        Denoise(bundle, engine, settings.seed, generation.steps, generation.hyper).run(
            batch,
            List(count) { 1 },
            State(bundle, stateOfGeneration(bundle)),
            pictures,
        ) { picture, step ->
            control.checkMayRun()
            control.emit(RunEvent.Prepared(generation.stepProgram, picture * generation.steps + step, count * generation.steps))
        }
        val from = bundle.manifest.caches.getValue(pictureCache(bundle))
        val to = bundle.manifest.caches.getValue(target)
        val picture = directBuffer(from.storedBytes)
        val full = directBuffer(from.bytes)
        val stored = directBuffer(to.storedBytes)
        val made = Conversion(full, from.dtype, picture, from.stored)
        val kept = Conversion(full, to.dtype, stored, to.stored)
        for (index in 0 until count) {
            pictures.read(pictureCache(bundle), index.toLong(), picture)
            made.toValue()
            kept.toStored()
            caches.write(target, settings.photos.toLong() + index, stored)
        }
    }

    /** The cache of photos that holds what the generation's picture cache holds: latents. */
    private fun photoLatents(): String {
        val picture = bundle.manifest.caches.getValue(pictureCache(bundle))
        val found =
            names.filter {
                val cache = bundle.manifest.caches.getValue(it)
                cache.scope == Scope.PHOTO && cache.shape == picture.shape && cache.dtype == picture.dtype
            }
        return found.singleOrNull() ?: throw PocketTuneException(
            ErrorCode.CONFIG_INVALID,
            "this bundle has no single cache for the latents of class pictures: train without them",
        )
    }

    /** The scope that all outputs of a program share. */
    private fun scopeOf(program: String): Scope {
        val scope = cachesOf(program).mapTo(HashSet()) { bundle.manifest.caches.getValue(it).scope }.singleOrNull()
        if (scope != null && scope != Scope.PICTURE) return scope
        throw PocketTuneException(
            ErrorCode.BUNDLE_MANIFEST_INVALID,
            "preparation program ${shown(program)} must fill caches of one scope, prompt, photo or sample: " +
                "export the bundle again",
        )
    }

    private fun cachesOf(program: String): List<String> =
        bundle.program(program).outputs.mapNotNull { (it.binding as? Binding.Cache)?.name }
}
