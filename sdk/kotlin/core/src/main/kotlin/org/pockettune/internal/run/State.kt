package org.pockettune.internal.run

import org.pockettune.Binding
import org.pockettune.Bundle
import org.pockettune.Program
import org.pockettune.internal.TensorBytes
import org.pockettune.internal.byCodePoints
import java.nio.ByteBuffer
import java.util.TreeMap

/**
 * The training state: every tensor twice, since an engine takes one buffer and fills another (`spec/bundle.md` 3).
 * Begins with the initial values of the tensors named.
 */
internal class State(
    private val bundle: Bundle,
    names: Set<String>,
) {
    /** One tensor. */
    class Value(
        now: ByteBuffer,
    ) {
        /** The current value. */
        var now: ByteBuffer = now
            private set

        /** Where a program writes the new value; [swap] makes it the current one. */
        val next: ByteBuffer get() = other ?: directBuffer(now.capacity().toLong()).also { other = it }

        private var other: ByteBuffer? = null

        fun swap() {
            val old = now
            now = next
            other = old
        }
    }

    private val tensors = TreeMap<String, Value>(byCodePoints)

    init {
        for (name in names) tensors[name] = Value(initialValue(bundle, name))
    }

    operator fun get(name: String): Value = tensors.getValue(name)

    /** The current value. */
    fun now(name: String): ByteBuffer = get(name).now

    /** All tensors by name, in that order. */
    fun tensors(): List<TensorBytes> =
        tensors.map { (name, value) ->
            val tensor = bundle.manifest.tensors.getValue(name)
            TensorBytes(name, tensor.dtype, tensor.shape, value.now.whole())
        }
}

/** The initial value of one tensor of the state. */
internal fun initialValue(
    bundle: Bundle,
    name: String,
): ByteBuffer {
    val tensor = bundle.manifest.tensors.getValue(name)
    val value = directBuffer(tensor.bytes)
    val file = tensor.file ?: return value
    bundle.tensors(file).use { it.read(it.require(name, tensor.dtype, tensor.shape), value) }
    value.clear()
    return value
}

/** Names of the state tensors that a program reads or writes. */
internal fun stateOf(program: Program): Set<String> =
    (program.inputs + program.outputs).mapNotNullTo(HashSet()) { (it.binding as? Binding.State)?.name }

/** Bytes of those tensors. */
internal fun stateBytes(
    bundle: Bundle,
    names: Set<String>,
): Long = names.sumOf { bundle.manifest.tensors.getValue(it).bytes }
