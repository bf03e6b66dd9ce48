package org.pockettune.desktop

import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.executorch.ExecuTorchEngine
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.test.assertEquals

class SessionTest {
    private val program = Prepared.bundle.program("evaluate")

    private fun buffers(sizes: List<Long>) = sizes.map { ByteBuffer.allocateDirect(it.toInt()).order(ByteOrder.nativeOrder()) }

    @Test
    fun `a closed session refuses to run`() {
        val session = Prepared.engine.open(Prepared.bundle, "evaluate")
        val inputs = buffers(program.inputs.map { it.bytes })
        val outputs = buffers(program.outputs.map { it.bytes })
        session.run(inputs, outputs)
        session.close()
        session.close()
        assertEquals(
            ErrorCode.ENGINE_FAILED,
            assertThrows<PocketTuneException> { session.run(inputs, outputs) }.code,
        )
    }

    @Test
    fun `another runtime's bundle and a missing program are refused`() {
        assertEquals(
            ErrorCode.ENGINE_VERSION_MISMATCH,
            assertThrows<PocketTuneException> { ExecuTorchEngine(1, "0.0.1").open(Prepared.bundle, "evaluate") }.code,
        )
        assertEquals(
            ErrorCode.PROGRAM_MISSING,
            assertThrows<PocketTuneException> { Prepared.engine.open(Prepared.bundle, "nothing") }.code,
        )
        assertEquals(ErrorCode.CONFIG_INVALID, assertThrows<PocketTuneException> { ExecuTorchEngine(0) }.code)
    }
}
