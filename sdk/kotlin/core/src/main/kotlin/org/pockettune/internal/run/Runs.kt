package org.pockettune.internal.run

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.isActive
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import org.pockettune.RunEvent
import java.util.concurrent.CopyOnWriteArraySet
import java.util.concurrent.Executors

// One session at a time in the process, so that no two programs are resident together.
private val resident = Mutex()

/** Runs of one trainer or personalizer, each on a worker thread of its own. */
internal class Runs(
    private val surroundings: Surroundings,
) {
    // Those that wait for their turn, too: a pause must not be lost because another program is still resident.
    private val collected = CopyOnWriteArraySet<Control>()

    fun pause() = collected.forEach { it.pause() }

    /** A cold stream: each collection calls [work], whose result is the last event. */
    fun events(work: (Control) -> RunEvent): Flow<RunEvent> =
        flow {
            withWorker { worker ->
                // Without a bound: training never waits for who watches it.
                val bunches =
                    channelFlow {
                        val bunched = Bunched { trySend(it) }
                        val control = Control(surroundings, { isActive }, bunched::emit)
                        collected.add(control)
                        try {
                            resident.withLock {
                                val last = work(control)
                                ensureActive()
                                bunched.emit(last)
                            }
                        } finally {
                            collected.remove(control)
                            bunched.send()
                        }
                    }
                bunches.buffer(Channel.UNLIMITED).flowOn(worker).collect { bunch -> bunch.forEach { emit(it) } }
            }
        }

    companion object {
        /** Calls [work] on a worker thread, when no program is resident. */
        suspend fun <Result> alone(work: () -> Result): Result =
            withWorker { worker -> withContext(worker) { resident.withLock { work() } } }

        private suspend fun <Result> withWorker(use: suspend (CoroutineDispatcher) -> Result): Result {
            val executor = Executors.newSingleThreadExecutor { Thread(it, "pockettune").apply { isDaemon = true } }
            return executor.asCoroutineDispatcher().use { use(it) }
        }
    }
}

/**
 * Steps that are short are told in bunches of [TOLD_AFTER] of work: to wake the collector takes longer than everything
 * else between two steps. Longer steps and all other events are told at once.
 */
private class Bunched(
    private val tell: (List<RunEvent>) -> Unit,
) {
    private var held = ArrayList<RunEvent>()
    private var seconds = 0.0

    fun emit(event: RunEvent) {
        held.add(event)
        if (event is RunEvent.Stepped) seconds += event.seconds
        if (event !is RunEvent.Stepped || event.step == 1 || seconds >= TOLD_AFTER) send()
    }

    /** Tells what is held. */
    fun send() {
        seconds = 0.0
        if (held.isEmpty()) return
        tell(held)
        held = ArrayList()
    }

    private companion object {
        const val TOLD_AFTER = 0.05
    }
}
