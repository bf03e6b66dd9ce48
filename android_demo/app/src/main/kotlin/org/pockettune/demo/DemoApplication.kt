package org.pockettune.demo

import android.app.Application
import android.content.SharedPreferences
import kotlinx.coroutines.MainScope
import org.pockettune.Bundle
import org.pockettune.Store
import org.pockettune.android.AndroidSensors
import org.pockettune.demo.model.BundlePresenter
import org.pockettune.executorch.ExecuTorchEngine

/** What all pages share. Runs belong to it, not to a page, so turning the phone does not end them. */
class DemoApplication : Application() {
    /** Where runs and pages work; the main thread, from which the SDK moves its work away. */
    val scope = MainScope()

    /** What is remembered between two starts: the chosen photos, their prompt, the bundles. */
    val memory: SharedPreferences by lazy { getSharedPreferences("demo", MODE_PRIVATE) }

    val store: Store by lazy { Store(filesDir.toPath().resolve("pockettune")) }
    val sensors: AndroidSensors by lazy { AndroidSensors(this) }
    val engine: ExecuTorchEngine by lazy { ExecuTorchEngine(threads = WORKERS) }

    val pictures: BundlePresenter<Bundle> by lazy { BundlePresenter(scope, StoreBundles(this, "pictures")) }
    val gestures: BundlePresenter<Bundle> by lazy { BundlePresenter(scope, StoreBundles(this, "gestures")) }

    /** Whether this build has ExecuTorch's natives; one that was made without Gradle lacks them. */
    val hasRuntime: Boolean by lazy {
        try {
            System.loadLibrary("executorch")
            true
        } catch (_: UnsatisfiedLinkError) {
            false
        }
    }

    private val pages = HashMap<String, Any>()

    /** The presenter of a bundle's page, made when it is first asked for. */
    @Suppress("UNCHECKED_CAST") // each key is used with one type only
    fun <Presenter : Any> page(
        bundle: Bundle,
        make: () -> Presenter,
    ): Presenter = pages.getOrPut(bundle.id, make) as Presenter

    private companion object {
        // The fast cores of most phones; more threads wait for the slow ones.
        const val WORKERS = 2
    }
}
