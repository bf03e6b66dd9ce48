package org.pockettune.internal

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.nio.ByteBuffer
import java.nio.CharBuffer
import java.util.Collections

/** Most bytes of a document that is read (`spec/bundle.md` 1). */
internal const val LARGEST_JSON = 16L shl 20

private const val DEEPEST = 32
private const val MOST_VALUES = 1 shl 16
private const val MOST_TEXT = 1 shl 20
private const val PIECE = 1 shl 13
private const val ESCAPES = "\"\\/bfnrt"
private const val ESCAPED = "\"\\/\b\u000c\n\r\t"
private const val DECIMAL = 10

/**
 * The value of a UTF-8 JSON document in the first [length] bytes, read strictly: readers elsewhere keep the first of two
 * equal keys, or the last, or crash at great depth, so whatever two readers could take differently is refused with a
 * [JsonFault]. Values and text are counted while they are read, so that no document takes more than twice its cap.
 */
internal fun parseJson(
    bytes: ByteArray,
    length: Int = bytes.size,
): JsonValue =
    try {
        checkUtf8(bytes, length)
        JsonParser(bytes, length).document()
    } catch (error: OutOfMemoryError) {
        throw PocketTuneException(ErrorCode.OUT_OF_MEMORY, "a JSON document of $length bytes needs too much memory", error)
    }

/** Piece by piece, so that nothing is held but the bytes themselves. */
private fun checkUtf8(
    bytes: ByteArray,
    length: Int,
) {
    val decoder = Charsets.UTF_8.newDecoder()
    val from = ByteBuffer.wrap(bytes, 0, length)
    val piece = CharBuffer.allocate(PIECE)
    do {
        val result = decoder.decode(from, piece.clear(), true)
        if (result.isError) throw JsonFault("it is not UTF-8")
    } while (result.isOverflow)
}

/** Works on bytes: the document as text would take up to twice its size beside them. */
private class JsonParser(
    private val bytes: ByteArray,
    private val length: Int,
) {
    private var at = 0
    private var values = 0
    private var text = 0
    private val found = StringBuilder()

    fun document(): JsonValue {
        val value = value(0)
        skipSpace()
        if (at != length) fail("there is text after the value")
        return value
    }

    private fun fail(why: String): Nothing = throw JsonFault("$why at byte $at")

    /** The byte here as a letter; 0, which no rule takes, at the end. */
    private fun peek(): Char = if (at < length) (bytes[at].toInt() and 0xff).toChar() else '\u0000'

    private fun skipSpace() {
        while (peek().let { it == ' ' || it == '\n' || it == '\t' || it == '\r' }) at++
    }

    private fun accept(wanted: Char): Boolean {
        if (at >= length || peek() != wanted) return false
        at++
        return true
    }

    private fun expect(wanted: Char) {
        if (!accept(wanted)) fail("'$wanted' is missing")
    }

    private fun value(depth: Int): JsonValue {
        if (++values > MOST_VALUES) fail("more than $MOST_VALUES values")
        skipSpace()
        return when (peek()) {
            '{' -> objectAt(depth + 1)
            '[' -> arrayAt(depth + 1)
            '"' -> JsonText(string())
            't' -> word("true", JsonBoolean.TRUE)
            'f' -> word("false", JsonBoolean.FALSE)
            'n' -> word("null", JsonNull)
            else -> number()
        }
    }

    private fun word(
        wanted: String,
        value: JsonValue,
    ): JsonValue {
        for (letter in wanted) {
            if (!accept(letter)) fail("a value is missing")
        }
        return value
    }

    private fun objectAt(depth: Int): JsonObject {
        if (depth > DEEPEST) fail("more than $DEEPEST levels")
        at++
        skipSpace()
        if (accept('}')) return JsonObject.EMPTY
        // Most objects of a hostile document have one member, and get the map that takes least.
        var members: MutableMap<String, JsonValue>? = null
        var first: Map<String, JsonValue> = emptyMap()
        do {
            skipSpace()
            if (peek() != '"') fail("a member's name is missing")
            val name = string()
            if (name in (members ?: first)) fail("the member ${shown(name)} stands twice")
            skipSpace()
            expect(':')
            val value = value(depth)
            if (first.isEmpty()) {
                first = Collections.singletonMap(name, value)
            } else {
                members = members ?: LinkedHashMap(first)
                members[name] = value
            }
            skipSpace()
        } while (accept(','))
        expect('}')
        return JsonObject(members ?: first)
    }

    private fun arrayAt(depth: Int): JsonArray {
        if (depth > DEEPEST) fail("more than $DEEPEST levels")
        at++
        skipSpace()
        if (accept(']')) return JsonArray.EMPTY
        val items = ArrayList<JsonValue>(1)
        do {
            items.add(value(depth))
            skipSpace()
        } while (accept(','))
        expect(']')
        return JsonArray(items)
    }

    private fun string(): String {
        at++
        val begin = at
        var escaped = false
        while (peek() != '"') {
            if (at >= length) fail("a string is cut off")
            if (peek() < ' ') fail("a control character in a string")
            if (peek() == '\\') {
                escaped = true
                at++
            }
            at++
        }
        if (at >= length) fail("a string is cut off")
        text += at - begin
        if (text > MOST_TEXT) fail("more than $MOST_TEXT bytes of text")
        // Most strings hold no escape and are taken as they stand.
        val plain = String(bytes, begin, at++ - begin)
        return if (escaped) Escapes(plain).resolved() else plain
    }

    private fun digits(): Int {
        val begin = at
        while (peek() in '0'..'9') at++
        return at - begin
    }

    private fun number(): JsonValue {
        val begin = at
        var whole = true
        accept('-')
        if (accept('0')) {
            if (peek() in '0'..'9') fail("a number starts with 0")
        } else if (digits() == 0) {
            fail("a value is missing")
        }
        if (accept('.')) {
            whole = false
            if (digits() == 0) fail("a number is cut off")
        }
        if (accept('e') || accept('E')) {
            whole = false
            if (!accept('+')) accept('-')
            if (digits() == 0) fail("a number is cut off")
        }
        if (whole) integer(begin)?.let { return JsonInteger.of(it) }
        val double = String(bytes, begin, at - begin).toDouble()
        if (!double.isFinite()) fail("a number is not finite")
        return JsonReal(double, whole)
    }

    /** The integer from [begin] to here; null when it is beyond 64 bits. */
    private fun integer(begin: Int): Long? {
        val negative = bytes[begin] == '-'.code.toByte()
        var value = 0L
        // Below zero, where there is one number more.
        for (place in (if (negative) begin + 1 else begin) until at) {
            val digit = bytes[place] - '0'.code
            if (value < (Long.MIN_VALUE + digit) / DECIMAL) return null
            value = value * DECIMAL - digit
        }
        if (!negative && value == Long.MIN_VALUE) return null
        return if (negative) value else -value
    }

    /** A string's letters, with what its escapes stand for in their place. */
    private inner class Escapes(
        private val text: String,
    ) {
        private var next = 0

        fun resolved(): String {
            found.setLength(0)
            while (next < text.length) {
                val letter = text[next++]
                if (letter == '\\') escape() else found.append(letter)
            }
            return found.toString()
        }

        private fun escape() {
            val letter = text[next++]
            if (letter != 'u') {
                val position = ESCAPES.indexOf(letter)
                if (position < 0) fail("an unknown escape")
                found.append(ESCAPED[position])
                return
            }
            val high = fourDigits()
            found.append(high)
            if (!high.isSurrogate()) return
            if (high.isLowSurrogate() || !text.startsWith("\\u", next)) fail("half a surrogate pair")
            next += 2
            val low = fourDigits()
            if (!low.isLowSurrogate()) fail("half a surrogate pair")
            found.append(low)
        }

        private fun fourDigits(): Char {
            var value = 0
            repeat(4) {
                val digit = if (next < text.length && text[next] < '\u0080') Character.digit(text[next], 16) else -1
                if (digit < 0) fail("an escape is wrong")
                value = value * 16 + digit
                next++
            }
            return value.toChar()
        }
    }
}
