package org.pockettune.internal

import org.pockettune.DType
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException

private const val LARGEST_COUNT = (1L shl 53) - 1
private const val MOST_DIMENSIONS = 8
private const val LARGEST_TENSOR = 1L shl 40

internal fun invalidManifest(why: String): Nothing =
    throw PocketTuneException(
        ErrorCode.BUNDLE_MANIFEST_INVALID,
        "manifest.json is not valid: $why; fetch or export the bundle again",
    )

/**
 * A member of the manifest, with its path for messages. Every accessor raises `bundle_manifest_invalid` when the member
 * is of another kind or out of range.
 */
internal class Member(
    private val value: JsonValue,
    private val parent: Member? = null,
    private val name: String = "",
    private val index: Int? = null,
) {
    val isNull: Boolean get() = value === JsonNull

    fun fail(why: String): Nothing = invalidManifest((if (parent == null) "the document" else shown(path())) + " " + why)

    operator fun get(name: String): Member = find(name) ?: fail("has no member $name")

    /** The member of that name, or null when it is not there. */
    fun find(name: String): Member? = table()[name]?.let { Member(it, this, name) }

    /** The members of an object, by name. */
    fun <Value> each(use: (Member) -> Value): Map<String, Value> =
        table().entries.associateTo(LinkedHashMap()) { (name, value) -> name to use(Member(value, this, name)) }

    /** The items of a list. */
    fun <Value> items(use: (Member) -> Value): List<Value> =
        (value as? JsonArray ?: fail("is no list")).items.mapIndexed { index, item -> use(Member(item, this, index = index)) }

    fun requireObject() {
        table()
    }

    fun text(): String = (value as? JsonText ?: fail("is not text")).value

    fun oneOf(vararg allowed: String): String =
        text().also { if (it !in allowed) fail("is ${shown(it)}, not one of ${allowed.joinToString(" ")}") }

    /** An integer in a range. */
    fun integer(range: LongRange): Long {
        val integer = anyInteger()
        if (integer == null || integer !in range) fail("is out of range: ${range.first} to ${range.last}")
        return integer
    }

    /** An integer; null when it is beyond 64 bits. */
    fun anyInteger(): Long? =
        when {
            value is JsonInteger -> value.value
            value is JsonReal && value.whole -> null
            else -> fail("is not a whole number")
        }

    /** 0 to 2^53 - 1. */
    fun count(): Long = integer(0..LARGEST_COUNT)

    /** 1 to 2^31 - 1. */
    fun positive(): Int = integer(1..Int.MAX_VALUE.toLong()).toInt()

    /** -(2^53 - 1) to 2^53 - 1. */
    fun signed(): Long = integer(-LARGEST_COUNT..LARGEST_COUNT)

    /** 0 to 2^32 - 1. */
    fun stream(): Long = integer(0..0xffff_ffffL)

    fun numbers(): Map<String, Double> = each { it.number() ?: it.fail("is not a number") }

    fun texts(): Map<String, String> = each { it.text() }

    fun number(): Double? =
        when (value) {
            is JsonInteger -> value.value.toDouble()
            is JsonReal -> value.value
            else -> null
        }

    fun dtype(): DType {
        val name = oneOf(*DType.entries.map { it.id }.toTypedArray())
        return DType.entries.first { it.id == name }
    }

    fun shape(): List<Int> = items { it.positive() }.also { if (it.size > MOST_DIMENSIONS) fail("has more than 8 dimensions") }

    /** Raises unless a tensor of that shape and type has at most 2^40 bytes. */
    fun checkBytes(
        shape: List<Int>,
        dtype: DType,
    ) {
        var bytes = dtype.bytes.toLong()
        for (size in shape) {
            if (bytes > LARGEST_TENSOR / size) fail("has more than 2^40 bytes")
            bytes *= size
        }
    }

    private fun table(): Map<String, JsonValue> = (value as? JsonObject ?: fail("is no object")).members

    /** Put together only for a message: names may be long, and each may have thousands of members. */
    private fun path(): String {
        val before = parent?.path() ?: return ""
        if (index != null) return "$before[$index]"
        return if (before.isEmpty()) name else "$before.$name"
    }
}
