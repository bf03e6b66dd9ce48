package org.pockettune.demo.model

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class MemoryTest {
    @Test
    fun `figures of a process are read in bytes`() {
        val status = "Name:\tapp\nVmHWM:\t  123456 kB\nRssAnon:\t    1000 kB\nThreads:\t7\n"
        assertEquals(mapOf("VmHWM" to 123_456L * 1024, "RssAnon" to 1_024_000L), processFigures(status))
    }

    @Test
    fun `this very process tells its own`() {
        val figures = processFigures(File("/proc/self/status").readText())
        val own = checkNotNull(figures["RssAnon"])
        assertTrue(own in 1_000_000..checkNotNull(figures["VmHWM"]))
    }

    @Test
    fun `what the phone does not tell is unknown`() {
        val lines = memoryLines(MemoryReading(pss = 1_500_000, anonymous = null, mapped = null, peak = 812_000_000, available = null))
        assertEquals(listOf("1.5 MB", "unknown", "unknown", "812 MB", "unknown"), lines.map { it.value })
    }
}
