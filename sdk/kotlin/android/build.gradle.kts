// Never run where PocketTune is developed: there, Maven builds it (pom.xml).
plugins {
    alias(libs.plugins.android.library)
}

android {
    namespace = "org.pockettune.android"
    compileSdk = 36
    defaultConfig {
        minSdk = 29
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    testOptions {
        unitTests.all {
            // Robolectric closes file descriptors as Android does, by their field.
            it.jvmArgs("--add-opens=java.base/java.io=ALL-UNNAMED")
        }
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
    testImplementation(libs.kotlin.test.junit4)
    testImplementation(libs.junit4)
    testImplementation(libs.robolectric)
}
