package org.pockettune.desktop

import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.Session
import org.pockettune.onnxruntime.OnnxRuntimeEngine
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.sin
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class OnnxRuntimeTest {
    private val program = Prepared.bundle.program("train_step")

    private fun buffers(sizes: List<Long>) = sizes.map { ByteBuffer.allocateDirect(it.toInt()).order(ByteOrder.nativeOrder()) }

    private fun inputs(seed: Int) =
        buffers(program.inputs.map { it.bytes }).onEachIndexed { index, buffer ->
            if (program.inputs[index].dtype == DType.FLOAT32) {
                for (at in 0 until buffer.capacity() / 4) buffer.putFloat(4 * at, 0.1f * sin(seed + 7f * index + at))
            }
        }

    private fun Session.outputsOf(inputs: List<ByteBuffer>) = buffers(program.outputs.map { it.bytes }).also { run(inputs, it) }

    @Test
    fun `both engines give the same outputs and a buffer that was seen before is read again`() {
        val given = inputs(1)
        OnnxRuntimeEngine().open(Prepared.bundle, "train_step").use { one ->
            Prepared.engine.open(Prepared.bundle, "train_step").use { other ->
                for (seed in 1..3) {
                    for ((buffer, fresh) in given.zip(inputs(seed))) buffer.clear().put(fresh)
                    for (buffer in given) buffer.position(buffer.capacity()) // whole buffers count
                    val found = one.outputsOf(given)
                    val wanted = other.outputsOf(given)
                    for ((index, argument) in program.outputs.withIndex()) {
                        if (argument.dtype != DType.FLOAT32) {
                            assertEquals(wanted[index], found[index], argument.name)
                            continue
                        }
                        val numbers = 0 until argument.elements.toInt()
                        val largest = numbers.maxOf { abs(wanted[index].getFloat(4 * it)) }
                        val worst = numbers.maxOf { abs(wanted[index].getFloat(4 * it) - found[index].getFloat(4 * it)) }
                        assertTrue(worst <= 1e-5f * max(1f, largest), "${argument.name}: $worst")
                    }
                }
            }
        }
    }

    @Test
    fun `two threads give what one gives`() {
        val given = inputs(5)
        val results =
            listOf(1, 2).map { threads ->
                OnnxRuntimeEngine(threads).open(Prepared.bundle, "train_step").use { it.outputsOf(given) }
            }
        val loss = program.outputs.indexOfFirst { it.name == "loss" }
        assertEquals(results[0][loss].getFloat(0), results[1][loss].getFloat(0), 1e-5f)
    }

    @Test
    fun `a buffer of another size a closed session and a missing program are refused`() {
        val session = OnnxRuntimeEngine().open(Prepared.bundle, "train_step")
        val given = inputs(1)
        val taken = session.outputsOf(given)
        assertThrows<IllegalArgumentException> { session.run(given.drop(1), taken) }
        assertThrows<IllegalArgumentException> { session.run(buffers(program.inputs.map { it.bytes + 1 }), taken) }
        session.close()
        session.close()
        assertEquals(ErrorCode.ENGINE_FAILED, assertThrows<PocketTuneException> { session.run(given, taken) }.code)
        assertEquals(
            ErrorCode.PROGRAM_MISSING,
            assertThrows<PocketTuneException> { OnnxRuntimeEngine().open(Prepared.bundle, "nothing") }.code,
        )
    }
}
