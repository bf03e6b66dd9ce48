// Never run where PocketTune is developed: there, Maven builds it (pom.xml).
plugins {
    alias(libs.plugins.kotlin.jvm) apply false
    alias(libs.plugins.android.library) apply false
}

subprojects {
    group = "org.pockettune"
    version = rootProject.libs.versions.pockettune.get()
}
