package org.pockettune.demo.model

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import org.pockettune.PocketTuneException
import org.pockettune.RunEvent

/** What the page needs of the SDK. [Picture] is the platform's. */
interface Personalization<Picture : Any> {
    /** Trains on the photos of these addresses, or goes on with it. */
    fun personalize(
        photos: List<String>,
        prompt: String,
    ): Flow<RunEvent>

    /** Lets the run write its state and end. */
    fun pause()

    /** Draws a picture, with what was learned or without. */
    suspend fun draw(
        prompt: String,
        learned: Boolean,
    ): Picture

    /** Forgets photos, runs and what was learned. */
    suspend fun forget()
}

/** What the page shows. */
data class PersonalizeState<Picture : Any>(
    val photos: List<String> = emptyList(),
    val prompt: String = "",
    val progress: Progress = Progress(),
    val before: Picture? = null,
    val after: Picture? = null,
) {
    val canStart: Boolean get() = photos.isNotEmpty() && prompt.isNotBlank() && !progress.phase.isWorking
    val canPause: Boolean get() = progress.phase.let { it is Phase.Training || it is Phase.Preparing }
}

/** The page on which a person teaches the phone a subject. */
class PersonalizePresenter<Picture : Any>(
    private val scope: CoroutineScope,
    private val work: Personalization<Picture>,
    photos: List<String> = emptyList(),
    prompt: String = "",
) {
    private val mutable = MutableStateFlow(PersonalizeState<Picture>(photos, prompt))
    private var job: Job? = null

    /** What to show. */
    val state: StateFlow<PersonalizeState<Picture>> = mutable.asStateFlow()

    /** The user picked photos; those that are there already are not taken twice. */
    fun addPhotos(addresses: List<String>) = edit { copy(photos = (photos + addresses).distinct()) }

    /** The user took a photo out. */
    fun removePhoto(address: String) = edit { copy(photos = photos - address) }

    /** The user said what the photos show. */
    fun setPrompt(text: String) = edit { copy(prompt = text) }

    /** Trains, then draws the same picture with and without what was learned. */
    fun start() {
        if (!state.value.canStart) return
        val (photos, prompt) = state.value
        launch {
            show(Progress(Phase.Preparing(0, 1)))
            work.personalize(photos, prompt).collect { show(state.value.progress.after(it)) }
            val done = state.value.progress
            if (done.phase is Phase.Done) {
                draw(prompt, learned = done.phase.accepted)
                show(done)
            }
        }
    }

    /** Ends the run within a step; starting again goes on. */
    fun pause() = work.pause()

    /** Forgets everything that is personal. */
    fun forget() {
        if (state.value.progress.phase.isWorking) return
        launch {
            work.forget()
            mutable.value = PersonalizeState()
        }
    }

    private suspend fun draw(
        prompt: String,
        learned: Boolean,
    ) {
        show(state.value.progress.copy(phase = Phase.Trying))
        val before = work.draw(prompt, learned = false)
        mutable.update { it.copy(before = before, after = null) }
        if (learned) {
            val after = work.draw(prompt, learned = true)
            mutable.update { it.copy(after = after) }
        }
    }

    private fun launch(block: suspend () -> Unit) {
        if (job?.isActive == true) return
        job =
            scope.launch {
                try {
                    block()
                } catch (failure: PocketTuneException) {
                    show(state.value.progress.copy(phase = Phase.Failed(failure.message.orEmpty())))
                }
            }
    }

    // Photos and prompt belong to the run while it works.
    private fun edit(change: PersonalizeState<Picture>.() -> PersonalizeState<Picture>) {
        if (!state.value.progress.phase.isWorking) mutable.update(change)
    }

    private fun show(progress: Progress) = mutable.update { it.copy(progress = progress) }
}
