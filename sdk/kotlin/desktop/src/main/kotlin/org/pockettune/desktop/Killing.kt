package org.pockettune.desktop

import java.nio.file.Path

/**
 * Lets this process die by SIGKILL at a moment of a durable write: `MOMENT:FILE`, where the moment is `appended`, `written`,
 * `synced` or `renamed`. For tests; the hook is no part of the SDK's interface, hence the reflection.
 */
internal fun killAt(place: String) {
    val (moment, name) = place.split(':', limit = 2)
    val probe = { reached: Any, path: Path ->
        if ("$reached".lowercase() == moment && "${path.fileName}" == name) die()
    }
    Class
        .forName("org.pockettune.internal.DurableFileKt")
        .getMethod("setWriteProbe", Function2::class.java)
        .invoke(null, probe)
}

private fun die() {
    ProcessBuilder("kill", "-9", "${ProcessHandle.current().pid()}").start().waitFor()
    Thread.sleep(Long.MAX_VALUE) // the signal may take a moment, and nothing may happen meanwhile
}
