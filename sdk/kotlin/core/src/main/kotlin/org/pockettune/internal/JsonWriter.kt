package org.pockettune.internal

/** Writes JSON as all writers of bundles and results do: one line, no spaces, ASCII. Names keep the caller's order. */
internal class JsonWriter {
    private val text = StringBuilder()
    private var separated = true

    fun obj(members: JsonWriter.() -> Unit): JsonWriter = nested('{', '}', members)

    fun array(items: JsonWriter.() -> Unit): JsonWriter = nested('[', ']', items)

    fun name(name: String): JsonWriter {
        string(name)
        text.append(':')
        separated = true
        return this
    }

    fun string(value: String): JsonWriter = item { quote(value) }

    fun number(value: Long): JsonWriter = item { text.append(value) }

    /** A number that is not finite is written as null: JSON has no other way. */
    fun number(value: Double): JsonWriter = item { text.append(if (value.isFinite()) format(value) else "null") }

    fun number(value: Float): JsonWriter = item { text.append(if (value.isFinite()) format(value) else "null") }

    fun boolean(value: Boolean): JsonWriter = item { text.append(value) }

    override fun toString(): String = text.toString()

    private inline fun item(write: () -> Unit): JsonWriter {
        if (!separated) text.append(',')
        write()
        separated = false
        return this
    }

    private inline fun nested(
        open: Char,
        close: Char,
        write: JsonWriter.() -> Unit,
    ): JsonWriter =
        item {
            text.append(open)
            separated = true
            write()
            text.append(close)
        }

    private fun quote(value: String) {
        text.append('"')
        for (unit in value) {
            when (unit) {
                '"', '\\' -> text.append('\\').append(unit)
                in ' '..'~' -> text.append(unit)
                else -> text.append("\\u%04x".format(unit.code))
            }
        }
        text.append('"')
    }
}
