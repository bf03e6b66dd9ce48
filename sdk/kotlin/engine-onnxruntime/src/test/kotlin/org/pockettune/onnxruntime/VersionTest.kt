package org.pockettune.onnxruntime

import ai.onnxruntime.OrtException
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import kotlin.test.assertEquals

class VersionTest {
    @Test
    fun `releases without the operators of bundles are refused`() {
        for (version in listOf("1.13.0", "1.29.0", "1.32.0", "2.0")) requireVersion(version)
        for (version in listOf("1.12.1", "1.9.0", "0.5", "")) {
            assertEquals(
                ErrorCode.ENGINE_VERSION_MISMATCH,
                assertThrows<PocketTuneException> { requireVersion(version) }.code,
                version,
            )
        }
    }

    @Test
    fun `what the runtime says about memory is out of memory`() {
        val codes =
            listOf("std::bad_alloc", "Failed to allocate memory for requested buffer of size 9", "another thing\nin two lines")
                .map { engineFailure("it failed", OrtException(it)) }
        assertEquals(
            listOf(ErrorCode.OUT_OF_MEMORY, ErrorCode.OUT_OF_MEMORY, ErrorCode.ENGINE_FAILED),
            codes.map { it.code },
        )
        assertEquals(true, codes.last().message?.endsWith("it failed: another thing; in two lines"))
    }

    @Test
    fun `threads are counted`() {
        assertEquals(ErrorCode.CONFIG_INVALID, assertThrows<PocketTuneException> { OnnxRuntimeEngine(0) }.code)
    }
}
