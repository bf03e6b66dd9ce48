package org.pockettune.demo

import android.content.Intent
import android.net.Uri
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.emitAll
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.withContext
import org.pockettune.Bundle
import org.pockettune.Conditions
import org.pockettune.Personalizer
import org.pockettune.Picture
import org.pockettune.Pixels
import org.pockettune.RunEvent
import org.pockettune.android.readPhoto
import org.pockettune.demo.model.Personalization

/** What the page of photos does, by the SDK. */
class SdkPersonalization(
    private val app: DemoApplication,
    private val bundle: Bundle,
    /** What has to hold to start. */
    start: Conditions,
    /** What has to hold before every step. */
    goOn: Conditions,
) : Personalization<Picture> {
    private val personalizer = Personalizer(bundle, app.engine, app.store, app.sensors, start, goOn)

    override fun personalize(
        photos: List<String>,
        prompt: String,
    ): Flow<RunEvent> =
        flow {
            choose(app, photos, prompt)
            // A saved run belongs to its photos and its prompt: others begin a new one.
            val subject = app.memory.getString(CHOSEN, null)
            if (app.memory.getString(BEGUN, subject) != subject) personalizer.discard(NAME)
            app.memory.edit().putString(BEGUN, subject).apply()
            val side = bundle.manifest.image?.run { minOf(width, height) } ?: 1
            val pixels =
                withContext(Dispatchers.IO) {
                    photos.map { Pixels.of(readPhoto(app.contentResolver, Uri.parse(it), side), bundle) }
                }
            emitAll(personalizer.personalize(NAME, pixels, prompt))
        }

    override fun pause() = personalizer.pause()

    override suspend fun draw(
        prompt: String,
        learned: Boolean,
    ): Picture = personalizer.generate(prompt, adapter = if (learned) NAME else null, seed = SEED)

    override suspend fun forget() {
        app.store.deletePersonalData()
        app.memory.edit().remove(CHOSEN).remove(BEGUN).apply()
        for (permission in app.contentResolver.persistedUriPermissions) {
            app.contentResolver.releasePersistableUriPermission(permission.uri, Intent.FLAG_GRANT_READ_URI_PERMISSION)
        }
    }

    companion object {
        /** The run's and the adapter's name. */
        const val NAME = "subject"

        private const val CHOSEN = "chosen"
        private const val BEGUN = "begun"
        private const val SEED = 3L

        /** The user looks on and waits: neither a charger nor idleness is asked for. */
        val WATCHED_START = Conditions.START.copy(charging = false, idle = false)

        /** The same, to go on. */
        val WATCHED_CONTINUE = Conditions.CONTINUE.copy(charging = false, idle = false)

        /** Remembers what is to be learned; a job of the night has no page to ask. */
        fun choose(
            app: DemoApplication,
            photos: List<String>,
            prompt: String,
        ) = app.memory.edit().putString(CHOSEN, (photos + prompt).joinToString("\n")).apply()

        /** The photos and the prompt that were chosen last. */
        fun chosen(app: DemoApplication): Pair<List<String>, String>? {
            val lines = app.memory.getString(CHOSEN, null)?.split('\n') ?: return null
            return lines.dropLast(1) to lines.last()
        }
    }
}
