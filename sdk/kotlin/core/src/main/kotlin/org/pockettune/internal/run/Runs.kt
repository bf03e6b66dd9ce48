package org.pockettune.internal.run

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.emitAll
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.isActive
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import org.pockettune.RunEvent
import java.util.concurrent.Executors

// One session at a time in the process, so that no two programs are resident together.
private val resident = Mutex()

/** Runs of one trainer or personalizer, each on a worker thread of its own. */
internal class Runs(
    private val surroundings: Surroundings,
) {
    @Volatile
    private var current: Control? = null

    fun pause() {
        current?.pause()
    }

    /** A cold stream: each collection calls [work], whose result is the last event. */
    fun events(work: (Control) -> RunEvent): Flow<RunEvent> =
        flow {
            withWorker { worker ->
                // Without a bound: training never waits for who watches it.
                emitAll(
                    channelFlow {
                        val control = Control(surroundings, { isActive }) { trySend(it) }
                        resident.withLock {
                            current = control
                            try {
                                val last = work(control)
                                ensureActive()
                                trySend(last)
                            } finally {
                                current = null
                            }
                        }
                    }.buffer(Channel.UNLIMITED).flowOn(worker),
                )
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
