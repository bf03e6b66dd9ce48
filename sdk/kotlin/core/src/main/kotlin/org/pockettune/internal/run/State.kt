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
    private class Pair(
        var now: ByteBuffer,
        var next: ByteBuffer?,
    )

    private val tensors = TreeMap<String, Pair>(byCodePoints)

    init {
        for (name in names) tensors[name] = Pair(initialValue(bundle, name), null)
    }

    /** The current value. */
    fun now(name: String): ByteBuffer = tensors.getValue(name).now

    /** Where a program writes the new value; [swap] makes it the current one. */
    fun next(name: String): ByteBuffer {
        val pair = tensors.getValue(name)
        return pair.next ?: directBuffer(pair.now.capacity().toLong()).also { pair.next = it }
    }

    fun swap(name: String) {
        val pair = tensors.getValue(name)
        val now = pair.now
        pair.now = checkNotNull(pair.next)
        pair.next = now
    }

    /** All tensors by name, in that order. */
    fun tensors(): List<TensorBytes> =
        tensors.map { (name, pair) ->
            val tensor = bundle.manifest.tensors.getValue(name)
            TensorBytes(name, tensor.dtype, tensor.shape, pair.now.whole())
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
