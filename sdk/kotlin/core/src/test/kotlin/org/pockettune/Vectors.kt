package org.pockettune

import org.pockettune.internal.JsonArray
import org.pockettune.internal.JsonInteger
import org.pockettune.internal.JsonObject
import org.pockettune.internal.JsonText
import org.pockettune.internal.JsonValue
import org.pockettune.internal.parseJson
import java.nio.file.Files
import java.nio.file.Path

/** The repository's root, as the build passes it. */
internal val repository: Path = Path.of(checkNotNull(System.getProperty("pockettune.root")) { "run the tests with Maven" })

internal val vectors: Path = repository.resolve("spec/vectors")

internal fun readJson(path: Path): JsonValue = parseJson(Files.readAllBytes(path))

internal operator fun JsonValue.get(name: String): JsonValue = (this as JsonObject).members.getValue(name)

internal val JsonValue.items: List<JsonValue> get() = (this as JsonArray).items

internal val JsonValue.text: String get() = (this as JsonText).value

internal val JsonValue.long: Long get() = (this as JsonInteger).value
