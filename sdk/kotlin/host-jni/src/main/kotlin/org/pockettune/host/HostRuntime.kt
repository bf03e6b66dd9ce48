package org.pockettune.host

import com.facebook.soloader.nativeloader.NativeLoader
import com.facebook.soloader.nativeloader.NativeLoaderDelegate
import java.nio.file.Path

/**
 * Lets the official ExecuTorch classes run on a desktop JVM: their natives come from this repository's build
 * (`make native-jni`), where an Android app has them in the library's AAR.
 */
public object HostRuntime {
    /** Loads the natives. Call it before the first use of an ExecuTorch class; the first library that is given stays. */
    @Synchronized
    public fun install(library: Path) {
        if (NativeLoader.isInitialized()) return
        System.load(library.toAbsolutePath().toString())
        NativeLoader.init(Loaded)
    }

    /** The runtime's version, like `1.5.1`. */
    public external fun version(): String

    /** Whatever library a class asks for is in ours, which is there. */
    private object Loaded : NativeLoaderDelegate {
        override fun loadLibrary(
            name: String,
            flags: Int,
        ): Boolean = true

        override fun getLibraryPath(name: String): String? = null

        override fun getSoSourcesVersion(): Int = 0
    }
}
