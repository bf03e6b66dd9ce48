package org.pockettune.desktop

import com.sun.management.ThreadMXBean
import org.pockettune.Bundle
import org.pockettune.Engine
import org.pockettune.PersonalizationSettings
import org.pockettune.Personalizer
import org.pockettune.Session
import org.pockettune.Store
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.lang.management.ManagementFactory
import java.nio.ByteBuffer
import java.nio.ByteOrder

private val threads = ManagementFactory.getThreadMXBean() as ThreadMXBean

/**
 * Measures every run of one program, from the inside: how long the engine works, and what happens between its runs. Processor
 * time of the run's thread, which a busy machine does not stretch.
 */
private class MeasuredEngine(
    private val engine: Engine,
    private val program: String,
) : Engine {
    val begins = ArrayList<Long>()
    val ends = ArrayList<Long>()
    val allocated = ArrayList<Long>()

    override val id: String get() = engine.id

    override fun open(
        bundle: Bundle,
        program: String,
    ): Session {
        val session = engine.open(bundle, program)
        return if (program == this.program && begins.isEmpty()) Measured(session) else session
    }

    private inner class Measured(
        private val session: Session,
    ) : Session by session {
        override fun run(
            inputs: List<ByteBuffer>,
            outputs: List<ByteBuffer>,
        ) {
            allocated.add(threads.currentThreadAllocatedBytes)
            begins.add(threads.currentThreadCpuTime)
            session.run(inputs, outputs)
            ends.add(threads.currentThreadCpuTime)
        }
    }
}

/**
 * Personalizes and prints what the SDK adds to the engine: processor time and heap bytes between two runs of the training
 * program, and processor time that a session adds to the runtime's own `Module.execute`. Medians; the first half of the steps
 * warms the JVM up and is left out.
 */
internal suspend fun overhead(options: Options) {
    val bundle = Bundle.open(options.path("bundle"))
    val steps = options.whole("steps") ?: 200
    val measured = MeasuredEngine(engineOf(options), bundle.manifest.training.program)
    personalizer(options, bundle, measured)
        .personalize("overhead", photosOf(options, bundle), options.required("prompt"), settingsFor(steps))
        .collect { }
    val counted = steps / 2 until steps - 1
    val step = median(counted.map { measured.ends[it] - measured.begins[it] })
    val between = median(counted.map { measured.begins[it + 1] - measured.ends[it] })
    val heap = median(counted.map { measured.allocated[it + 1] - measured.allocated[it] })
    val (session, module) = sessionAgainstModule(options, bundle, steps)
    println(
        """{"steps":$steps,"step_nanoseconds":$step,"loop_nanoseconds":$between,"heap_bytes_per_step":$heap,""" +
            """"session_nanoseconds":$session,"module_nanoseconds":$module}""",
    )
}

private fun settingsFor(steps: Int) = PersonalizationSettings(steps = steps, checkpointEvery = steps)

/** Median nanoseconds of a run by the session, and by the module alone; in turns. */
private fun sessionAgainstModule(
    options: Options,
    bundle: Bundle,
    steps: Int,
): Pair<Long, Long> {
    val name = bundle.manifest.training.program
    val program = bundle.program(name)
    val place = program.engines.getValue("executorch")
    val inputs = program.inputs.map { direct(it.bytes) }
    val outputs = program.outputs.map { direct(it.bytes) }
    val module = Module.load("${bundle.file(place.file)}", Module.LOAD_MODE_MMAP)
    val values =
        program.inputs.mapIndexed { index, argument ->
            val shape = LongArray(argument.shape.size) { argument.shape[it].toLong() }
            EValue.from(
                when (argument.dtype) {
                    org.pockettune.DType.INT64 -> Tensor.fromBlob(inputs[index].asLongBuffer(), shape)
                    else -> Tensor.fromBlob(inputs[index].asFloatBuffer(), shape)
                },
            )
        }
    val bySession = ArrayList<Long>()
    val byModule = ArrayList<Long>()
    engineOf(options).open(bundle, name).use { session ->
        repeat(steps) {
            bySession.add(time { session.run(inputs, outputs) })
            byModule.add(time { module.execute(place.method, *values.toTypedArray()) })
        }
    }
    module.destroy()
    return median(bySession.drop(steps / 2)) to median(byModule.drop(steps / 2))
}

private inline fun time(body: () -> Unit): Long {
    val begin = threads.currentThreadCpuTime
    body()
    return threads.currentThreadCpuTime - begin
}

private fun direct(bytes: Long) = ByteBuffer.allocateDirect(bytes.toInt()).order(ByteOrder.nativeOrder())

private fun median(values: List<Long>): Long = values.sorted()[values.size / 2]
