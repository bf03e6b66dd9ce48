package org.pockettune.guides

import android.content.Context
import android.net.Uri
import org.pockettune.Bundle
import org.pockettune.Personalizer
import org.pockettune.Picture
import org.pockettune.Pixels
import org.pockettune.RunEvent
import org.pockettune.Store
import org.pockettune.android.AndroidSensors
import org.pockettune.android.readPhoto
import org.pockettune.executorch.ExecuTorchEngine

// guide: personalize

/** Learns what `photos` show and draws it; null: the phone has better things to do now, ask again later. */
public suspend fun personalize(
    context: Context,
    photos: List<Uri>,
    show: (String) -> Unit,
): Picture? {
    val files = context.filesDir.toPath()
    val bundle = Bundle.open(files.resolve("bundle"))
    val personalizer = Personalizer(bundle, ExecuTorchEngine(), Store(files.resolve("learned")), AndroidSensors(context))
    val pixels = photos.map { Pixels.of(readPhoto(context.contentResolver, it, side = 512), bundle) }
    var kept = false
    personalizer.personalize("rex", pixels, prompt = "a sks dog").collect { event ->
        when (event) {
            is RunEvent.Stepped -> show("step ${event.step} of ${event.of}, loss ${event.loss}")
            is RunEvent.Stopped -> show("waits for ${event.failing.joinToString { it.condition.id }}")
            is RunEvent.Finished -> kept = event.result.accepted
            else -> Unit
        }
    }
    return if (kept) personalizer.generate("a sks dog on the moon", adapter = "rex", seed = 1) else null
}

// end guide
