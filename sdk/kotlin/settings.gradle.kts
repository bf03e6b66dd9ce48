// The SDK for app developers' builds. Never run where PocketTune is developed: there, Maven builds it (pom.xml).
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "pockettune"
include(":core", ":engine-executorch", ":engine-onnxruntime", ":android")
