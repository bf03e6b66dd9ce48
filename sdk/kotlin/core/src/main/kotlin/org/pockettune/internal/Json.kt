package org.pockettune.internal

/** A value of a JSON document. */
internal sealed interface JsonValue

internal class JsonObject(
    val members: Map<String, JsonValue>,
) : JsonValue

internal class JsonArray(
    val items: List<JsonValue>,
) : JsonValue

internal class JsonText(
    val value: String,
) : JsonValue

/** A number written without point and exponent; [value] is null when it is beyond 64 bits. */
internal class JsonInteger(
    val value: Long?,
    val double: Double,
) : JsonValue

internal class JsonReal(
    val value: Double,
) : JsonValue

internal class JsonBoolean(
    val value: Boolean,
) : JsonValue

internal object JsonNull : JsonValue

/** Why a document is not JSON as `spec/bundle.md` 1 wants it. */
internal class JsonFault(
    reason: String,
) : Exception(reason)
