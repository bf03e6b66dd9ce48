// Never run where PocketTune is developed (../README.md).
plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "org.pockettune.demo"
    compileSdk = 36
    defaultConfig {
        applicationId = "org.pockettune.demo"
        minSdk = 29
        targetSdk = 35
        versionCode = 1
        versionName = libs.versions.pockettune.get()
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk {
            // What executorch-android has natives for.
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    packaging {
        // Natives are mapped from the archive where they lie, at multiples of 16 KB, and not unpacked.
        jniLibs.useLegacyPackaging = false
    }
    testOptions {
        unitTests.isIncludeAndroidResources = true
        unitTests.all {
            // Robolectric closes file descriptors as Android does, by their field.
            it.jvmArgs("--add-opens=java.base/java.io=ALL-UNNAMED")
        }
    }
}

kotlin {
    compilerOptions {
        allWarningsAsErrors = true
    }
}

dependencies {
    implementation(project(":model"))
    implementation("org.pockettune:core")
    implementation("org.pockettune:android")
    implementation("org.pockettune:engine-executorch")
    implementation(libs.coroutines.android)
    testImplementation(libs.kotlin.test.junit4)
    testImplementation(libs.junit4)
    testImplementation(libs.robolectric)
    androidTestImplementation(libs.kotlin.test.junit4)
    androidTestImplementation(libs.androidx.test.runner)
}
