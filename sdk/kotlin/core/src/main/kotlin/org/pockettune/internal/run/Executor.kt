package org.pockettune.internal.run

import org.pockettune.Argument
import org.pockettune.Binding
import org.pockettune.Bundle
import org.pockettune.Cache
import org.pockettune.DType
import org.pockettune.Engine
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.Scope
import org.pockettune.internal.RandomKey
import org.pockettune.internal.fillInteger
import org.pockettune.internal.fillNormal
import org.pockettune.internal.fillUniform
import org.pockettune.internal.shown
import java.nio.ByteBuffer

/** Which prompt, photo, sample and picture a run is about. */
internal class Item(
    val prompt: Int = 0,
    /** The prompt that stands for no prompt. */
    val unconditional: Int = 0,
    val photo: Int = 0,
    val sample: Int = 0,
    val picture: Int = 0,
    /** Of a client in a round. */
    val step: Long = 0,
    val round: Long = 0,
    val client: Long = 0,
    val weight: Float = 1f,
    /** Of a sampler; null outside of one, where both its numbers are 0. */
    val timestep: Timestep? = null,
) {
    fun index(scope: Scope): Long =
        when (scope) {
            Scope.PROMPT -> prompt.toLong()
            Scope.PHOTO -> photo.toLong()
            Scope.SAMPLE -> sample.toLong()
            Scope.PICTURE -> picture.toLong()
            Scope.STEP -> ((round shl 24) + client shl 20) + step
            Scope.ROUND -> round
            Scope.CLIENT -> client
        }
}

/** The app's data. */
internal class Batch(
    /** Rows of token ids. */
    val prompts: List<LongArray> = emptyList(),
    /** Each float32 `[3, H, W]` in a buffer. */
    val photos: List<ByteBuffer> = emptyList(),
    /** Tensors that the caller fills before a run, by the names of their bindings. */
    val tensors: Map<String, ByteBuffer> = emptyMap(),
)

/** What inputs are fed from. */
internal class Feed(
    val seed: Long,
    val hyper: Map<String, Double>,
    val batch: Batch,
    val state: State,
    val caches: CacheStore,
)

/**
 * Runs a program by its bindings: finds every input's bytes, and puts every output where it belongs. It knows no method
 * and no model.
 *
 * @property keepsState whether state outputs become the current values; when not, they are thrown away.
 */
internal class Executor(
    engine: Engine,
    private val bundle: Bundle,
    private val name: String,
    private val feed: Feed,
    private val keepsState: Boolean = true,
) : AutoCloseable {
    private val program = bundle.program(name)
    private val inputs = program.inputs.map(::Slot)
    private val outputs = program.outputs.map(::Slot)
    private val given = ArrayList<ByteBuffer>(inputs.map { it.value })
    private val taken = ArrayList<ByteBuffer>(outputs.map { it.value })
    private val loss = outputs.find { it.binding is Binding.Loss }
    private val session = engine.open(bundle, name)

    private inner class Slot(
        val argument: Argument,
    ) {
        val binding = argument.binding
        val cache: Cache? = (binding as? Binding.Cache)?.let { bundle.manifest.caches.getValue(it.name) }

        /** The tensor of the state; null for everything else. */
        val state: State.Value? = (binding as? Binding.State)?.let { feed.state[it.name] }

        /** Empty for state tensors and what the caller fills: these are used in place. */
        val value: ByteBuffer = directBuffer(if (state != null || prepared() != null) 0 else argument.bytes)

        /** A cache's value as it is kept, when that is another type. */
        val stored: ByteBuffer? = cache?.takeIf { it.stored != it.dtype }?.let { directBuffer(it.storedBytes) }

        /** [value] as floats and [stored] as halves: no other two types are converted. */
        val conversion: Conversion? = stored?.let { Conversion(value, argument.dtype, it, checkNotNull(cache).stored) }

        fun prepared(): ByteBuffer? = (binding as? Binding.Batch)?.let { feed.batch.tensors[it.name] }
    }

    fun run(item: Item) {
        for (index in inputs.indices) given[index] = filled(inputs[index], item)
        for (index in outputs.indices) {
            val slot = outputs[index]
            taken[index] = slot.state?.next ?: slot.value
        }
        session.run(given, taken)
        for (index in outputs.indices) keep(outputs[index], item)
    }

    /** The loss of the last run; raises `bundle_manifest_invalid` when the program has none. */
    fun loss(): Float = (loss ?: lacks("loss")).value.getFloat(0)

    /** A metric of the last run, likewise. */
    fun metric(metric: String): Float = output("metric.$metric") { it is Binding.Metric && it.name == metric }.value.getFloat(0)

    /** The first result of the last run, likewise; it must be float32. */
    fun result(): ByteBuffer {
        val slot = output("a result") { it is Binding.Output }
        if (slot.argument.dtype != DType.FLOAT32) noSource(slot.argument, "a result must be float32")
        return slot.value
    }

    private inline fun output(
        what: String,
        matches: (Binding) -> Boolean,
    ): Slot = outputs.find { matches(it.binding) } ?: lacks(what)

    private fun lacks(what: String): Nothing =
        throw PocketTuneException(
            ErrorCode.BUNDLE_MANIFEST_INVALID,
            "program ${shown(name)} lacks $what, which its task needs: export the bundle again",
        )

    private fun filled(
        slot: Slot,
        item: Item,
    ): ByteBuffer {
        val value = slot.value
        when (val binding = slot.binding) {
            is Binding.State -> return checkNotNull(slot.state).now
            is Binding.Batch -> return fillBatch(slot, binding, item)
            is Binding.Hyper -> fillHyper(slot, binding, item)
            is Binding.Random -> {
                val key = RandomKey(feed.seed, binding.stream, item.index(binding.index))
                value.clear()
                when (binding) {
                    is Binding.RandomNormal -> fillNormal(key, value)
                    is Binding.RandomUniform -> fillUniform(key, value)
                    is Binding.RandomInteger -> fillInteger(key, binding.low, binding.high, value)
                }
            }
            is Binding.Cache -> {
                val cache = checkNotNull(slot.cache)
                val index = if (binding.unconditional) item.unconditional.toLong() else item.index(cache.scope)
                feed.caches.read(binding.name, index, slot.stored ?: value)
                slot.conversion?.toValue()
            }
            else -> error("an output's binding at an input")
        }
        value.clear()
        return value
    }

    private fun fillBatch(
        slot: Slot,
        binding: Binding.Batch,
        item: Item,
    ): ByteBuffer {
        val argument = slot.argument
        val prepared = slot.prepared()
        if (prepared != null) {
            if (prepared.capacity().toLong() != argument.bytes) noSource(argument, "it takes a batch of another size")
            return prepared
        }
        val value = slot.value
        value.clear()
        if (binding.name == "input_ids" && argument.dtype == DType.INT64) {
            val ids = feed.batch.prompts[item.prompt]
            if (ids.size.toLong() != argument.elements) noSource(argument, "it takes prompts of another length")
            for (id in ids) value.putLong(id)
        } else if (binding.name == "weight" && argument.dtype == DType.FLOAT32) {
            fillNumber(value, argument.dtype, item.weight.toDouble())
        } else if (binding.name == "pixels" && argument.dtype == DType.FLOAT32 && feed.batch.photos.isNotEmpty()) {
            fillPhoto(slot, item)
        } else {
            noSource(argument, "nothing is known about batch.${binding.name}")
        }
        value.clear()
        return value
    }

    private fun fillPhoto(
        slot: Slot,
        item: Item,
    ) {
        val photo =
            feed.batch.photos.getOrNull(item.photo) ?: throw PocketTuneException(
                ErrorCode.CONFIG_INVALID,
                "program ${shown(name)} needs the pixels of every photo, and class pictures have none: train without them",
            )
        if (photo.capacity().toLong() != slot.argument.bytes) noSource(slot.argument, "it takes photos of another size")
        copy(photo, slot.value)
    }

    private fun fillHyper(
        slot: Slot,
        binding: Binding.Hyper,
        item: Item,
    ) {
        val argument = slot.argument
        val value =
            when (binding.name) {
                "timestep" -> (item.timestep?.now ?: 0).toDouble()
                "previous_timestep" -> (item.timestep?.previous ?: 0).toDouble()
                else -> feed.hyper[binding.name] ?: noSource(argument, "hyper.${binding.name} has no value")
            }
        if (!fillNumber(slot.value, argument.dtype, value)) noSource(argument, "hyper.${binding.name} does not fit an int64")
    }

    private fun keep(
        slot: Slot,
        item: Item,
    ) {
        val binding = slot.binding
        if (slot.state != null) {
            if (keepsState) slot.state.swap()
        } else if (binding is Binding.Cache) {
            val cache = checkNotNull(slot.cache)
            slot.conversion?.toStored()
            feed.caches.write(binding.name, item.index(cache.scope), slot.stored ?: slot.value)
        }
    }

    private fun noSource(
        argument: Argument,
        why: String,
    ): Nothing =
        throw PocketTuneException(
            ErrorCode.BUNDLE_MANIFEST_INVALID,
            "program ${shown(name)} has ${shown(argument.name)}: $why; export the bundle again",
        )

    override fun close() = session.close()
}
