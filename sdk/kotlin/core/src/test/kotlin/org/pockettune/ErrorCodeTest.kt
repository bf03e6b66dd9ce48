package org.pockettune

import kotlin.test.Test
import kotlin.test.assertEquals

class ErrorCodeTest {
    @Test
    fun `the codes are those of spec errors json, in its order`() {
        val listed = readJson(repository.resolve("spec/errors.json"))["errors"].items.map { it["code"].text }
        assertEquals(listed, ErrorCode.entries.map { it.id })
    }
}
