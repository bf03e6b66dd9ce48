package org.pockettune.demo

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.emitAll
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.withContext
import org.pockettune.Bundle
import org.pockettune.Examples
import org.pockettune.RunEvent
import org.pockettune.Trainer
import org.pockettune.TrainingSettings
import org.pockettune.demo.model.Example
import org.pockettune.demo.model.Recognizer

/** What the page of motions does, by the SDK. */
class SdkRecognizer(
    app: DemoApplication,
    bundle: Bundle,
) : Recognizer {
    private val trainer =
        Trainer(bundle, app.engine, app.store, app.sensors, SdkPersonalization.WATCHED_START, SdkPersonalization.WATCHED_CONTINUE)

    override fun train(
        training: List<Example>,
        validation: List<Example>,
    ): Flow<RunEvent> =
        flow {
            // Every training begins anew, from what all phones have and with all that was recorded.
            trainer.discard(NAME)
            val settings = TrainingSettings(epochs = EPOCHS)
            emitAll(trainer.train(NAME, examples(training), settings, validation.ifEmpty { null }?.let(::examples)))
        }

    override suspend fun accuracy(
        examples: List<Example>,
        learned: Boolean,
    ): Double = withContext(Dispatchers.Default) { trainer.evaluate(examples(examples), name(learned)).accuracy }

    override suspend fun predict(
        window: FloatArray,
        learned: Boolean,
    ): FloatArray = trainer.predict(window, name(learned))

    private fun name(learned: Boolean) = NAME.takeIf { learned }

    private fun examples(some: List<Example>): Examples {
        val size = some.first().window.size
        val inputs = FloatArray(some.size * size)
        some.forEachIndexed { index, example -> example.window.copyInto(inputs, index * size) }
        return Examples(inputs, IntArray(some.size) { some[it].label })
    }

    private companion object {
        const val NAME = "motions"
        const val EPOCHS = 20
    }
}
