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
    val heapAtBegins = ArrayList<Long>()
    val heapAtEnds = ArrayList<Long>()

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
            heapAtBegins.add(threads.currentThreadAllocatedBytes)
            begins.add(threads.currentThreadCpuTime)
            session.run(inputs, outputs)
            ends.add(threads.currentThreadCpuTime)
            heapAtEnds.add(threads.currentThreadAllocatedBytes)
        }
    }
}

/**
 * Personalizes and prints what the SDK adds to the engine: processor time and heap bytes between two runs of the training
 * program, and both that a session adds to the runtime's own `Module.execute`. Medians, and for the loop the mean too, since
 * not every step tells the collector; the first half of the steps warms the JVM up and is left out.
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
    val between = counted.map { measured.begins[it + 1] - measured.ends[it] }
    val heap = median(counted.map { measured.heapAtBegins[it + 1] - measured.heapAtEnds[it] })
    val (session, module) = sessionAgainstModule(options, bundle, steps)
    println(
        """{"steps":$steps,"step_nanoseconds":$step,"loop_nanoseconds":${median(between)},""" +
            """"loop_mean_nanoseconds":${between.average().toLong()},"heap_bytes_per_step":$heap,""" +
            """"session_nanoseconds":${session.nanoseconds},"session_heap_bytes":${session.heap},""" +
            """"module_nanoseconds":${module.nanoseconds},"module_heap_bytes":${module.heap}}""",
    )
}

/** Medians of some runs. */
private class Cost(
    val nanoseconds: Long,
    val heap: Long,
)

private fun settingsFor(steps: Int) = PersonalizationSettings(steps = steps, checkpointEvery = steps)

/** What a run takes by the session, and by the module alone; in turns. */
private fun sessionAgainstModule(
    options: Options,
    bundle: Bundle,
    steps: Int,
): Pair<Cost, Cost> {
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
    val bySession = ArrayList<Cost>()
    val byModule = ArrayList<Cost>()
    val arguments = values.toTypedArray()
    engineOf(options).open(bundle, name).use { session ->
        repeat(steps) {
            bySession.add(costOf { session.run(inputs, outputs) })
            byModule.add(costOf { module.execute(place.method, *arguments) })
        }
    }
    module.destroy()
    return median(bySession) to median(byModule)
}

private inline fun costOf(body: () -> Unit): Cost {
    val heap = threads.currentThreadAllocatedBytes
    val begin = threads.currentThreadCpuTime
    body()
    return Cost(threads.currentThreadCpuTime - begin, threads.currentThreadAllocatedBytes - heap)
}

@JvmName("medianCost")
private fun median(costs: List<Cost>): Cost {
    val counted = costs.drop(costs.size / 2)
    return Cost(median(counted.map { it.nanoseconds }), median(counted.map { it.heap }))
}

private fun direct(bytes: Long) = ByteBuffer.allocateDirect(bytes.toInt()).order(ByteOrder.nativeOrder())

private fun median(values: List<Long>): Long = values.sorted()[values.size / 2]
