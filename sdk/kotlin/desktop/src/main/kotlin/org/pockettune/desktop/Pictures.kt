package org.pockettune.desktop

import org.pockettune.Bundle
import org.pockettune.Engine
import org.pockettune.PersonalizationSettings
import org.pockettune.Personalizer
import org.pockettune.Pixels
import org.pockettune.Store
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.Path

internal fun personalizer(
    options: Options,
    bundle: Bundle,
    engine: Engine = engineOf(options),
) = Personalizer(
    bundle,
    engine,
    Store(options.path("out")),
    desktopSensors,
    desktopConditions,
    desktopConditions,
)

/** `--pixels` is a file of little-endian float32 `[n, 3, H, W]`. */
internal fun photosOf(
    options: Options,
    bundle: Bundle,
): List<Pixels> {
    val size = checkNotNull(bundle.manifest.image)
    val photo = 3 * size.height * size.width
    val values = readFloats(options.path("pixels"))
    return List(values.size / photo) { Pixels(values.copyOfRange(it * photo, (it + 1) * photo), size.height, size.width) }
}

internal suspend fun personalize(options: Options) {
    val bundle = Bundle.open(options.path("bundle"))
    val settings =
        PersonalizationSettings(
            steps = options.whole("steps"),
            samples = options.whole("samples"),
            seed = options.seed(),
            learningRate = options.real("learning-rate"),
            classPictures = options.whole("class-pictures") ?: 0,
            priorWeight = options.real("prior-weight") ?: 0.0,
            classPrompt = options.text("class-prompt"),
            checkpointEvery = options.whole("checkpoint-every") ?: 25,
        )
    personalizer(options, bundle)
        .personalize(options.text("run") ?: "run", photosOf(options, bundle), options.required("prompt"), settings)
        .collect(::print)
}

/** Writes the picture's RGB bytes to `--picture`. */
internal suspend fun generate(options: Options) {
    val picture =
        personalizer(options, Bundle.open(options.path("bundle"))).generate(
            options.required("prompt"),
            options.text("adapter"),
            options.seed(),
            options.whole("steps"),
            options.real("guidance"),
        )
    Files.write(options.path("picture"), picture.rgb)
    println("""{"event":"picture","width":${picture.width},"height":${picture.height}}""")
}

/** A file of little-endian float32. */
internal fun readFloats(path: Path): FloatArray {
    val bytes = Files.readAllBytes(path)
    val values = FloatArray(bytes.size / Float.SIZE_BYTES)
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values)
    return values
}

internal fun writeFloats(
    path: Path,
    values: FloatArray,
) {
    val bytes = ByteBuffer.allocate(values.size * Float.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    bytes.asFloatBuffer().put(values)
    Files.write(path, bytes.array())
}
