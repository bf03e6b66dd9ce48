// Never run where PocketTune is developed: there, Maven builds it (pom.xml).
plugins {
    alias(libs.plugins.android.library)
}

android {
    namespace = "org.pockettune.onnxruntime"
    compileSdk = 36
    defaultConfig {
        minSdk = 29
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin {
    explicitApi()
    compilerOptions {
        allWarningsAsErrors = true
    }
}

dependencies {
    api(project(":core"))
    // The runtime with its natives for arm64-v8a and x86_64; any release from 1.13 on.
    implementation(libs.onnxruntime.android)
}
