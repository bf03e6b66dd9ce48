package org.pockettune.internal

import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import java.nio.ByteBuffer
import java.nio.CharBuffer

private const val DEEPEST = 32
private const val PIECE = 1 shl 13
private const val ESCAPES = "\"\\/bfnrt"
private const val ESCAPED = "\"\\/\b\u000c\n\r\t"

/**
 * The value of a UTF-8 JSON document, read strictly: readers elsewhere keep the first of two equal keys, or the last, or
 * crash at great depth, so whatever two readers could take differently is refused with a [JsonFault].
 */
internal fun parseJson(bytes: ByteArray): JsonValue =
    try {
        checkUtf8(bytes)
        JsonParser(String(bytes)).document()
    } catch (error: OutOfMemoryError) {
        // Values take several times the bytes that stand for them: a document made of nothing but values may be too much.
        throw PocketTuneException(ErrorCode.OUT_OF_MEMORY, "a JSON document of ${bytes.size} bytes needs too much memory", error)
    }

/** Piece by piece, so that nothing is held but the text itself. */
private fun checkUtf8(bytes: ByteArray) {
    val decoder = Charsets.UTF_8.newDecoder()
    val from = ByteBuffer.wrap(bytes)
    val piece = CharBuffer.allocate(PIECE)
    do {
        val result = decoder.decode(from, piece.clear(), true)
        if (result.isError) throw JsonFault("it is not UTF-8")
    } while (result.isOverflow)
}

private class JsonParser(
    private val text: String,
) {
    private var at = 0

    fun document(): JsonValue {
        val value = value(0)
        skipSpace()
        if (at != text.length) fail("there is text after the value")
        return value
    }

    private fun fail(why: String): Nothing = throw JsonFault("$why at character $at")

    private fun peek(): Char = if (at < text.length) text[at] else '\u0000'

    private fun skipSpace() {
        while (at < text.length && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r')) at++
    }

    private fun accept(wanted: Char): Boolean {
        if (at >= text.length || text[at] != wanted) return false
        at++
        return true
    }

    private fun expect(wanted: Char) {
        if (!accept(wanted)) fail("'$wanted' is missing")
    }

    private fun value(depth: Int): JsonValue {
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
        val members = LinkedHashMap<String, JsonValue>()
        do {
            skipSpace()
            if (peek() != '"') fail("a member's name is missing")
            val name = string()
            if (name in members) fail("the member ${shown(name)} stands twice")
            skipSpace()
            expect(':')
            members[name] = value(depth)
            skipSpace()
        } while (accept(','))
        expect('}')
        return JsonObject(members)
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
        // Most strings hold no escape and are taken as they stand.
        while (at < text.length && text[at] != '"' && text[at] != '\\' && text[at] >= ' ') at++
        val plain = text.substring(begin, at)
        if (accept('"')) return plain
        val found = StringBuilder(plain)
        while (true) {
            if (at >= text.length) fail("a string is cut off")
            val letter = text[at]
            if (letter < ' ') fail("a control character in a string")
            at++
            when (letter) {
                '"' -> return found.toString()
                '\\' -> escape(found)
                else -> found.append(letter)
            }
        }
    }

    private fun escape(found: StringBuilder) {
        if (at >= text.length) fail("a string is cut off")
        val letter = text[at++]
        if (letter != 'u') {
            val position = ESCAPES.indexOf(letter)
            if (position < 0) fail("an unknown escape")
            found.append(ESCAPED[position])
            return
        }
        val high = fourDigits()
        found.append(high)
        if (!high.isSurrogate()) return
        if (high.isLowSurrogate() || !accept('\\') || !accept('u')) fail("half a surrogate pair")
        val low = fourDigits()
        if (!low.isLowSurrogate()) fail("half a surrogate pair")
        found.append(low)
    }

    private fun fourDigits(): Char {
        var value = 0
        repeat(4) {
            val digit = if (at < text.length && text[at] < '\u0080') Character.digit(text[at], 16) else -1
            if (digit < 0) fail("an escape is wrong")
            value = value * 16 + digit
            at++
        }
        return value.toChar()
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
        val token = text.substring(begin, at)
        if (whole) token.toLongOrNull()?.let { return JsonInteger.of(it) }
        val double = token.toDouble()
        if (!double.isFinite()) fail("a number is not finite")
        return JsonReal(double, whole)
    }
}
