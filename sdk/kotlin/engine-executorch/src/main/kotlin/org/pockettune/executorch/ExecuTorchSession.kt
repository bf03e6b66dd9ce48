package org.pockettune.executorch

import org.pockettune.Argument
import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.Program
import org.pockettune.Session
import org.pytorch.executorch.EValue
import org.pytorch.executorch.ExecutorchRuntimeException
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import org.pytorch.executorch.rawData
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.IntBuffer
import java.nio.LongBuffer
import java.nio.ShortBuffer
import java.util.IdentityHashMap
import org.pytorch.executorch.DType as RuntimeDType

/** A module of which one method is used. */
internal class ExecuTorchSession(
    private val module: Module,
    private val method: String,
    private val name: String,
    private val program: Program,
) : Session {
    // The runtime's tensors over the caller's buffers, made when a buffer is first seen and used again each time after.
    private val tensors = program.inputs.map { IdentityHashMap<ByteBuffer, EValue>() }
    private val arguments = arrayOfNulls<EValue>(program.inputs.size)
    private val targets = program.outputs.map { IdentityHashMap<ByteBuffer, Buffer>() }
    private var closed = false
    private var succeeded = false

    init {
        val result = engineCall("program '$name' cannot be loaded") { module.loadMethod(method) }
        if (result != ExecutorchRuntimeException.OK) {
            throw PocketTuneException(ErrorCode.ENGINE_FAILED, "program '$name' cannot be loaded: the runtime's error is $result")
        }
    }

    override fun run(
        inputs: List<ByteBuffer>,
        outputs: List<ByteBuffer>,
    ) {
        // The official module only writes a line to the log here and gives nothing.
        if (closed) throw PocketTuneException(ErrorCode.ENGINE_FAILED, "program '$name' was closed: open it again")
        require(inputs.size == program.inputs.size && outputs.size == program.outputs.size) { "a buffer for each argument" }
        for (index in inputs.indices) arguments[index] = tensorOf(index, inputs[index])
        val results = execute()
        if (results.size != outputs.size) {
            mismatch("gives ${results.size} outputs, its manifest lists ${outputs.size}")
        }
        for (index in outputs.indices) take(index, results[index], outputs[index])
        succeeded = true
    }

    private fun execute(): Array<EValue> =
        try {
            @Suppress("UNCHECKED_CAST")
            module.execute(method, *(arguments as Array<EValue>))
        } catch (failure: ExecutorchRuntimeException) {
            // Shapes never change, so only the first run can find them wrong.
            if (!succeeded &&
                failure.errorCode in mismatches
            ) {
                mismatch("takes other tensors than its manifest lists (${sentence(failure)})")
            }
            throw engineFailure("program '$name' failed", failure)
        }

    private fun tensorOf(
        index: Int,
        buffer: ByteBuffer,
    ): EValue =
        tensors[index].getOrPut(buffer) {
            val argument = program.inputs[index]
            requireSize(argument, buffer)
            val shape = LongArray(argument.shape.size) { argument.shape[it].toLong() }
            val whole = whole(buffer)
            EValue.from(
                when (argument.dtype) {
                    DType.FLOAT32 -> Tensor.fromBlob(whole.asFloatBuffer(), shape)
                    DType.FLOAT16 -> Tensor.fromBlob(whole.asShortBuffer(), shape)
                    DType.INT64 -> Tensor.fromBlob(whole.asLongBuffer(), shape)
                    DType.INT32 -> Tensor.fromBlob(whole.asIntBuffer(), shape)
                    DType.UINT8 -> Tensor.fromBlobUnsigned(whole, shape)
                    DType.INT8 -> Tensor.fromBlob(whole, shape)
                },
            )
        }

    private fun take(
        index: Int,
        result: EValue,
        buffer: ByteBuffer,
    ) {
        val argument = program.outputs[index]
        val target =
            targets[index].getOrPut(buffer) {
                requireSize(argument, buffer)
                typed(whole(buffer), argument.dtype)
            }
        if (!result.isTensor) mismatch("gives no tensor for '${argument.name}'")
        val tensor = result.toTensor()
        val shape = tensor.shape()
        val same = shape.size == argument.shape.size && shape.indices.all { shape[it] == argument.shape[it].toLong() }
        if (!same || tensor.dtype() != runtimeDType(argument.dtype)) {
            mismatch("gives ${tensor.dtype()} ${shape.toList()} for '${argument.name}', its manifest says another")
        }
        copy(rawData(tensor), target)
    }

    private fun mismatch(why: String): Nothing =
        throw PocketTuneException(ErrorCode.TENSOR_MISMATCH, "program '$name' $why: export the bundle again")

    override fun close() {
        if (closed) return
        closed = true
        module.destroy()
    }

    private companion object {
        val mismatches =
            setOf(
                ExecutorchRuntimeException.INVALID_ARGUMENT,
                ExecutorchRuntimeException.INVALID_TYPE,
                ExecutorchRuntimeException.NOT_SUPPORTED,
            )
    }
}

private fun requireSize(
    argument: Argument,
    buffer: ByteBuffer,
) = require(buffer.isDirect && buffer.capacity().toLong() == argument.bytes) {
    "'${argument.name}' needs a direct buffer of ${argument.bytes} bytes"
}

private fun whole(buffer: ByteBuffer): ByteBuffer = buffer.duplicate().clear().order(ByteOrder.nativeOrder()) as ByteBuffer

private fun typed(
    buffer: ByteBuffer,
    dtype: DType,
): Buffer =
    when (dtype) {
        DType.FLOAT32 -> buffer.asFloatBuffer()
        DType.FLOAT16 -> buffer.asShortBuffer()
        DType.INT64 -> buffer.asLongBuffer()
        DType.INT32 -> buffer.asIntBuffer()
        DType.UINT8, DType.INT8 -> buffer
    }

/** From the runtime's memory; both views are of one type, and [to] is used for nothing else. */
private fun copy(
    from: Buffer,
    to: Buffer,
) {
    from.rewind()
    to.clear()
    when (to) {
        is FloatBuffer -> to.put(from as FloatBuffer)
        is ShortBuffer -> to.put(from as ShortBuffer)
        is LongBuffer -> to.put(from as LongBuffer)
        is IntBuffer -> to.put(from as IntBuffer)
        else -> (to as ByteBuffer).put(from as ByteBuffer)
    }
}

private fun runtimeDType(dtype: DType): RuntimeDType =
    when (dtype) {
        DType.FLOAT32 -> RuntimeDType.FLOAT
        DType.FLOAT16 -> RuntimeDType.HALF
        DType.INT64 -> RuntimeDType.INT64
        DType.INT32 -> RuntimeDType.INT32
        DType.UINT8 -> RuntimeDType.UINT8
        DType.INT8 -> RuntimeDType.INT8
    }

/** Calls the runtime and gives its failures our code. */
internal inline fun <Result> engineCall(
    what: String,
    call: () -> Result,
): Result =
    try {
        call()
    } catch (failure: ExecutorchRuntimeException) {
        throw engineFailure(what, failure)
    } catch (failure: RuntimeException) {
        throw PocketTuneException(ErrorCode.ENGINE_FAILED, "$what: ${failure.message}", failure)
    } catch (failure: LinkageError) {
        throw PocketTuneException(ErrorCode.ENGINE_FAILED, "$what: the runtime's native library is not there", failure)
    }

internal fun engineFailure(
    what: String,
    failure: ExecutorchRuntimeException,
): PocketTuneException =
    if (failure.errorCode == ExecutorchRuntimeException.MEMORY_ALLOCATION_FAILED) {
        PocketTuneException(ErrorCode.OUT_OF_MEMORY, "$what: no memory; close other apps and try again", failure)
    } else {
        PocketTuneException(ErrorCode.ENGINE_FAILED, "$what: ${sentence(failure)}", failure)
    }

/** What the runtime says, in one line; its log makes several. */
private fun sentence(failure: ExecutorchRuntimeException): String =
    failure.message
        .orEmpty()
        .lines()
        .filter { it.isNotBlank() }
        .joinToString("; ") { it.trim() }
