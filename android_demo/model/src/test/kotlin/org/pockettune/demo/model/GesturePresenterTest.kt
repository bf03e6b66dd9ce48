package org.pockettune.demo.model

import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.test.TestScope
import kotlinx.coroutines.test.runCurrent
import kotlinx.coroutines.test.runTest
import org.pockettune.RunEvent
import org.pockettune.RunResult
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue

@OptIn(ExperimentalCoroutinesApi::class)
class GesturePresenterTest {
    /** Recognizes by the nearest mean of what it learned; untrained it takes everything for the first label. */
    private class Nearest : Recognizer {
        var means: Map<Int, Float> = emptyMap()
        var validation: List<Example> = emptyList()

        override fun train(
            training: List<Example>,
            validation: List<Example>,
        ): Flow<RunEvent> =
            flow {
                this@Nearest.validation = validation
                means = training.groupBy { it.label }.mapValues { (_, some) -> some.map { it.window[0] }.average().toFloat() }
                emit(RunEvent.Stepped(1, 1, 0.1f, 0.1))
                emit(RunEvent.Finished(RunResult(true, 1, 0.1, 0.1, listOf(0.1f), 0.5, 0.1, 1.0, 0.1, null)))
            }

        override suspend fun accuracy(
            examples: List<Example>,
            learned: Boolean,
        ): Double = examples.count { guess(predict(it.window, learned)).label == it.label } / examples.size.toDouble()

        override suspend fun predict(
            window: FloatArray,
            learned: Boolean,
        ): FloatArray =
            if (learned) {
                FloatArray(2) { -abs(window[0] - means.getValue(it)) }
            } else {
                floatArrayOf(1f, 0f)
            }
    }

    private fun TestScope.page(recognizer: Recognizer) = GesturePresenter(this, recognizer, listOf("still", "shake"))

    private fun GesturePresenter.show(
        label: Int,
        vararg values: Float,
    ) {
        record(label)
        values.forEach { onWindow(floatArrayOf(it)) }
        stopRecording()
    }

    @Test
    fun `it learns its user, and tells so on recordings that it did not learn`() =
        runTest {
            val recognizer = Nearest()
            val page = page(recognizer)
            page.show(0, 0f, 1f)
            page.show(1, 10f, 11f)
            page.show(0, 2f)
            page.show(1, 9f, 12f, 13f)
            assertEquals(listOf(3, 5), page.state.value.recorded)
            page.train()
            runCurrent()
            val state = page.state.value
            // Untrained, one of the four held-out windows is right.
            assertEquals(0.25 to 1.0, state.accuracyBefore to state.accuracyAfter)
            assertEquals(listOf(2f, 9f, 12f, 13f), recognizer.validation.map { it.window[0] })
            page.onWindow(floatArrayOf(10f))
            runCurrent()
            assertEquals(
                1,
                page.state.value.guess
                    ?.label,
            )
        }

    @Test
    fun `motion that is not recorded is recognized`() =
        runTest {
            val page = page(Nearest())
            page.onWindow(floatArrayOf(10f))
            runCurrent()
            assertEquals(
                0,
                page.state.value.guess
                    ?.label,
            )
            page.record(1)
            assertNull(page.state.value.guess)
        }

    @Test
    fun `one motion alone can't be told from another`() =
        runTest {
            val page = page(Nearest())
            page.show(0, 0f, 1f)
            assertFalse(page.state.value.canTrain)
            page.record(1)
            page.onWindow(floatArrayOf(5f))
            assertFalse(page.state.value.canTrain)
            page.stopRecording()
            assertTrue(page.state.value.canTrain)
        }

    @Test
    fun `a guess is a class and its share of the softmax`() {
        // exp(2) / (exp(0) + exp(2) + exp(1)) = 0.66524
        assertEquals(Guess(1, 0.66524094f), guess(floatArrayOf(0f, 2f, 1f)))
        assertEquals(1f, guess(floatArrayOf(-1000f, 1000f)).probability)
    }
}
