package org.pockettune.internal

private const val LONGEST_LABEL = 100

/** A name out of a file as it may stand in a message: printable ASCII in quotes, cut where it gets long. */
internal fun shown(name: String): String {
    val text = StringBuilder("'")
    for (character in name) {
        if (text.length > LONGEST_LABEL) {
            text.append("...")
            break
        }
        if (character in ' '..'~') text.append(character) else text.append("\\u%04x".format(character.code))
    }
    return text.append('\'').toString()
}

/** The order of UTF-8 bytes, which is that of code points: Kotlin's own order differs beyond 2^16. */
internal val byCodePoints: Comparator<String> =
    Comparator { one, other ->
        var at = 0
        while (at < one.length && at < other.length && one[at] == other[at]) at++
        if (at == one.length || at == other.length) {
            one.length - other.length
        } else {
            rank(one[at]) - rank(other[at])
        }
    }

// Surrogates stand for code points above every other unit, so they sort last.
private fun rank(unit: Char): Int = if (unit.isSurrogate()) unit.code + 0x10000 else unit.code
