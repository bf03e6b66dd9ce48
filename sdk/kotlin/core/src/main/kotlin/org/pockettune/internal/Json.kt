package org.pockettune.internal

/** A value of a JSON document. */
internal sealed interface JsonValue

internal class JsonObject(
    val members: Map<String, JsonValue>,
) : JsonValue {
    companion object {
        val EMPTY: JsonObject = JsonObject(emptyMap())
    }
}

internal class JsonArray(
    val items: List<JsonValue>,
) : JsonValue {
    companion object {
        val EMPTY: JsonArray = JsonArray(emptyList())
    }
}

internal class JsonText(
    val value: String,
) : JsonValue

/** A number written without point and exponent that fits 64 bits. */
internal class JsonInteger private constructor(
    val value: Long,
) : JsonValue {
    companion object {
        // Most numbers of a file are small; a hostile one may hold millions of them.
        private val small = List(0x100) { JsonInteger(it.toLong()) }

        fun of(value: Long): JsonInteger = if (value in small.indices) small[value.toInt()] else JsonInteger(value)
    }
}

/** Any other number; [whole] when it was written without point and exponent. */
internal class JsonReal(
    val value: Double,
    val whole: Boolean,
) : JsonValue

internal class JsonBoolean private constructor(
    val value: Boolean,
) : JsonValue {
    companion object {
        val TRUE: JsonBoolean = JsonBoolean(true)
        val FALSE: JsonBoolean = JsonBoolean(false)
    }
}

internal object JsonNull : JsonValue

/** Why a document is not JSON as `spec/bundle.md` 1 wants it. */
internal class JsonFault(
    reason: String,
) : Exception(reason)
