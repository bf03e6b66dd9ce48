package org.pockettune.demo.model

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import org.pockettune.DownloadEvent
import org.pockettune.PocketTuneException

/** Where a bundle comes from. [Opened] is what the app makes of it. */
interface BundleSource<Opened : Any> {
    /** The bundle that was taken before; null: none was. */
    suspend fun kept(): Opened?

    /** Takes the one that came with the app. */
    suspend fun fromApp(): Opened

    /** Fetches one from an address. */
    fun download(address: String): Flow<DownloadEvent>

    /** Takes the one that was fetched. */
    suspend fun take(event: DownloadEvent.Finished): Opened
}

/** A bundle, on its way or here. */
sealed interface BundleState<out Opened> {
    /** There is none. */
    data object Missing : BundleState<Nothing>

    /** It comes: so many bytes of so many, of nobody knows how many while [of] is 0. */
    data class Coming(
        val bytes: Long,
        val of: Long,
    ) : BundleState<Nothing>

    /** It is here. */
    data class Here<Opened>(
        val bundle: Opened,
    ) : BundleState<Opened>

    /** It can't be had, for this reason. What came so far is kept. */
    data class Failed(
        val message: String,
    ) : BundleState<Nothing>
}

/** The part of a page that gets a bundle. */
class BundlePresenter<Opened : Any>(
    private val scope: CoroutineScope,
    private val source: BundleSource<Opened>,
) {
    private val mutable = MutableStateFlow<BundleState<Opened>>(BundleState.Missing)
    private var job: Job? = null

    /** What to show. */
    val state: StateFlow<BundleState<Opened>> = mutable.asStateFlow()

    init {
        load { source.kept()?.let { BundleState.Here(it) } ?: BundleState.Missing }
    }

    /** The user takes the bundle that came with the app. */
    fun takeFromApp() = load { BundleState.Here(source.fromApp()) }

    /** The user fetches one. What broke off goes on. */
    fun download(address: String) =
        load {
            var last: BundleState<Opened> = BundleState.Coming(0, 0)
            source.download(address).collect { event ->
                last =
                    when (event) {
                        is DownloadEvent.Progress -> BundleState.Coming(event.bytes, event.of)
                        is DownloadEvent.Stopped -> BundleState.Failed(waitingFor(event.failing))
                        is DownloadEvent.Finished -> BundleState.Here(source.take(event))
                    }
                mutable.value = last
            }
            last
        }

    private fun load(block: suspend () -> BundleState<Opened>) {
        if (job?.isActive == true) return
        job =
            scope.launch {
                mutable.value = BundleState.Coming(0, 0)
                mutable.value =
                    try {
                        block()
                    } catch (failure: PocketTuneException) {
                        BundleState.Failed(failure.message.orEmpty())
                    }
            }
    }
}

/** One line about a bundle, in the words that the page gives for none. */
fun describe(
    state: BundleState<*>,
    missing: String,
    name: (Any) -> String,
): String =
    when (state) {
        BundleState.Missing -> missing
        is BundleState.Coming -> if (state.of > 0) "${megabytes(state.bytes)} of ${megabytes(state.of)}" else "…"
        is BundleState.Here -> name(checkNotNull(state.bundle))
        is BundleState.Failed -> state.message
    }
