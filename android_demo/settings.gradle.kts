// The demo app with the SDK's sources beside it. Never run where PocketTune is developed (README.md).
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
    versionCatalogs {
        create("libs") { from(files("../sdk/kotlin/gradle/libs.versions.toml")) }
    }
}

rootProject.name = "pockettune-demo"
include(":model", ":app")

// org.pockettune:core and its sisters are built from these sources.
includeBuild("../sdk/kotlin")
