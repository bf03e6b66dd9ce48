package org.pockettune.internal.run

import org.pockettune.Classification
import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.Examples
import org.pockettune.PocketTuneException
import org.pockettune.Scope
import org.pockettune.elementsOf
import org.pockettune.internal.RandomKey
import org.pockettune.internal.TensorBytes
import org.pockettune.internal.inFileOrder
import org.pockettune.internal.permutation
import org.pockettune.internal.sha256OfSafetensors
import java.nio.ByteBuffer

private const val ORDER_STREAM = 49L

/** Who trains, and when: what makes the random numbers of a fleet's clients differ. */
internal class Client(
    val seed: Long,
    val round: Int,
    val client: Int,
) {
    fun item(step: Int) = Item(step = step.toLong(), round = round.toLong(), client = client.toLong())

    /** The order in which an epoch takes the examples. */
    fun order(
        epoch: Int,
        examples: Int,
    ): IntArray = permutation(RandomKey(seed, ORDER_STREAM, item(epoch).index(Scope.STEP)), examples)
}

/**
 * Examples as a task's batches, in buffers that are made once. Raises `tensor_mismatch` for inputs of another size, and
 * `data_invalid` for a number that is not finite or a label that is no class.
 */
internal class Batches(
    private val examples: Examples,
    private val task: Classification,
) {
    private val size = task.batchSize
    private val inputs = directBuffer(elementsOf(task.inputShape) * DType.FLOAT32.bytes * size)
    private val rowBytes = inputs.capacity() / size
    private val labels = directBuffer(size.toLong() * DType.INT64.bytes)
    private val weights = directBuffer(size.toLong() * DType.FLOAT32.bytes)

    // A view of its own, since its position and limit are set for each row.
    private val rows = examples.inputs.whole()

    val count: Int get() = examples.count
    val perEpoch: Int get() = (count + size - 1) / size
    val batch = Batch(tensors = mapOf("inputs" to inputs, "labels" to labels, "weights" to weights))

    init {
        check()
    }

    /** Puts examples [begin] to [begin] + batch size of an order into the batch; example 0 fills the rest, at weight 0. */
    fun fill(
        order: IntArray,
        begin: Int,
    ) {
        inputs.clear()
        for (row in 0 until size) {
            val isThere = begin + row < order.size
            val example = if (isThere) order[begin + row] else 0
            rows.limit((example + 1) * rowBytes).position(example * rowBytes)
            inputs.put(rows)
            labels.putLong(row * DType.INT64.bytes, examples.labels[example])
            weights.putFloat(row * DType.FLOAT32.bytes, if (isThere) 1f else 0f)
        }
        inputs.clear()
    }

    fun label(example: Int): Int = examples.labels[example].toInt()

    /** The SHA-256 of the file that holds the examples as every tool writes it. */
    fun sha256(): String {
        val bytes = directBuffer(count.toLong() * DType.INT64.bytes)
        for (label in examples.labels) bytes.putLong(label)
        bytes.clear()
        val tensors: List<TensorBytes> =
            listOf(
                TensorBytes("inputs", DType.FLOAT32, listOf(count) + task.inputShape, examples.inputs.whole()),
                TensorBytes("labels", DType.INT64, listOf(count), bytes),
            )
        return sha256OfSafetensors(tensors.sortedWith(inFileOrder), emptyMap())
    }

    private fun check() {
        if (count == 0) throw PocketTuneException(ErrorCode.DATA_INVALID, "there are no examples: give at least one")
        if (examples.inputs.capacity().toLong() != count.toLong() * rowBytes) {
            throw PocketTuneException(
                ErrorCode.TENSOR_MISMATCH,
                "the inputs of $count examples are ${examples.inputs.capacity() / DType.FLOAT32.bytes} numbers: the bundle takes " +
                    "${listOf(count) + task.inputShape}",
            )
        }
        for ((example, label) in examples.labels.withIndex()) {
            if (label !in 0 until task.classes) {
                throw PocketTuneException(
                    ErrorCode.DATA_INVALID,
                    "example $example has label $label, and the bundle's classes are 0 to ${task.classes - 1}",
                )
            }
        }
        checkFinite(examples.inputs)
    }

    private fun checkFinite(values: ByteBuffer) {
        for (at in 0 until values.capacity() step DType.FLOAT32.bytes) {
            if (!values.getFloat(at).isFinite()) {
                throw PocketTuneException(
                    ErrorCode.DATA_INVALID,
                    "example ${at / rowBytes} holds a number that is not finite: remove it",
                )
            }
        }
    }
}
