package org.pockettune.desktop

import org.pockettune.Bundle
import org.pockettune.executorch.ExecuTorchEngine
import org.pockettune.host.HostRuntime
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Path

public fun main(words: Array<String>) {
    HostRuntime.install(Path.of(words[0]))
    println(HostRuntime.version())
    val bundle = Bundle.open(Path.of(words[1]))
    val name = words[2]
    val program = bundle.program(name)
    val engine = ExecuTorchEngine(1, HostRuntime.version())
    engine.open(bundle, name).use { session ->
        val inputs = program.inputs.map { ByteBuffer.allocateDirect(it.bytes.toInt()).order(ByteOrder.nativeOrder()) }
        val outputs = program.outputs.map { ByteBuffer.allocateDirect(it.bytes.toInt()).order(ByteOrder.nativeOrder()) }
        session.run(inputs, outputs)
        session.run(inputs, outputs)
        for ((argument, output) in program.outputs.zip(outputs)) println("${argument.name} ${output.getFloat(0)}")
    }
}
