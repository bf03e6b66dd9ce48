package org.pockettune.onnxruntime

import ai.onnxruntime.NodeInfo
import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import org.pockettune.Argument
import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.Program
import org.pockettune.Session
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.IdentityHashMap

/** A loaded model, of which the runtime reads inputs from the caller's buffers and writes outputs into them. */
internal class OnnxRuntimeSession(
    private val environment: OrtEnvironment,
    private val session: OrtSession,
    private val name: String,
    private val program: Program,
) : Session {
    private val inputs = program.inputs.map { Slot("in.${it.name}", it) }
    private val outputs = program.outputs.map { Slot("out.${it.name}", it) }

    // The runtime takes maps by name; only their values change from run to run.
    private val given = HashMap<String, OnnxTensor>()
    private val taken = HashMap<String, OnnxTensor>()
    private var closed = false

    /** The runtime's tensors over the caller's buffers, made when a buffer is first seen and used again each time after. */
    private inner class Slot(
        val key: String,
        val argument: Argument,
    ) {
        private val shape = LongArray(argument.shape.size) { argument.shape[it].toLong() }
        private val tensors = IdentityHashMap<ByteBuffer, OnnxTensor>()

        fun tensorOf(buffer: ByteBuffer): OnnxTensor =
            tensors.getOrPut(buffer) {
                require(buffer.isDirect && buffer.capacity().toLong() == argument.bytes) {
                    "'${argument.name}' needs a direct buffer of ${argument.bytes} bytes"
                }
                val whole = buffer.duplicate().clear().order(ByteOrder.nativeOrder()) as ByteBuffer
                engineCall("program '$name' cannot take '${argument.name}'") {
                    OnnxTensor.createTensor(environment, whole, shape, runtimeType(argument.dtype))
                }
            }

        fun require(info: NodeInfo?) {
            val found = info?.info as? TensorInfo
            if (found == null || found.type != runtimeType(argument.dtype) || !found.shape.contentEquals(shape)) {
                mismatch("has for '${argument.name}' ${found ?: "no tensor"}, its manifest says ${argument.dtype.id} ${argument.shape}")
            }
        }

        fun close() = tensors.values.forEach(OnnxTensor::close)
    }

    init {
        requireSame(inputs, "takes", engineCall("program '$name' cannot be read") { session.inputInfo })
        requireSame(outputs, "gives", engineCall("program '$name' cannot be read") { session.outputInfo })
    }

    private fun requireSame(
        slots: List<Slot>,
        does: String,
        found: Map<String, NodeInfo>,
    ) {
        if (found.size != slots.size) mismatch("$does ${found.size} tensors, its manifest lists ${slots.size}")
        for (slot in slots) slot.require(found[slot.key])
    }

    override fun run(
        inputs: List<ByteBuffer>,
        outputs: List<ByteBuffer>,
    ) {
        if (closed) throw PocketTuneException(ErrorCode.ENGINE_FAILED, "program '$name' was closed: open it again")
        require(inputs.size == this.inputs.size && outputs.size == this.outputs.size) { "a buffer for each argument" }
        fill(given, this.inputs, inputs)
        fill(taken, this.outputs, outputs)
        // The result owns nothing: all outputs are the caller's.
        engineCall("program '$name' failed") { session.run(given, taken).close() }
    }

    private fun fill(
        map: HashMap<String, OnnxTensor>,
        slots: List<Slot>,
        buffers: List<ByteBuffer>,
    ) {
        for (index in slots.indices) map[slots[index].key] = slots[index].tensorOf(buffers[index])
    }

    private fun mismatch(why: String): Nothing =
        throw PocketTuneException(ErrorCode.TENSOR_MISMATCH, "program '$name' $why: export the bundle again")

    override fun close() {
        if (closed) return
        closed = true
        for (slot in inputs + outputs) slot.close()
        session.close()
    }
}

private fun runtimeType(dtype: DType): OnnxJavaType =
    when (dtype) {
        DType.FLOAT32 -> OnnxJavaType.FLOAT
        DType.FLOAT16 -> OnnxJavaType.FLOAT16
        DType.INT64 -> OnnxJavaType.INT64
        DType.INT32 -> OnnxJavaType.INT32
        DType.UINT8 -> OnnxJavaType.UINT8
        DType.INT8 -> OnnxJavaType.INT8
    }

/** Calls the runtime and gives its failures our code. */
internal inline fun <Result> engineCall(
    what: String,
    call: () -> Result,
): Result =
    try {
        call()
    } catch (failure: OrtException) {
        throw engineFailure(what, failure)
    } catch (failure: LinkageError) {
        throw PocketTuneException(ErrorCode.ENGINE_FAILED, "$what: the runtime's native library is not there", failure)
    }

internal fun engineFailure(
    what: String,
    failure: OrtException,
): PocketTuneException {
    val said = failure.message.orEmpty()
    // The runtime has no code of its own for this.
    return if (outOfMemory.any { it in said }) {
        PocketTuneException(ErrorCode.OUT_OF_MEMORY, "$what: no memory; close other apps and try again", failure)
    } else {
        val sentence = said.lines().filter(String::isNotBlank).joinToString("; ") { it.trim() }
        PocketTuneException(ErrorCode.ENGINE_FAILED, "$what: $sentence", failure)
    }
}

private val outOfMemory = listOf("bad_alloc", "Failed to allocate memory")
