package org.pockettune.internal

import org.pockettune.Bundle
import org.pockettune.ErrorCode
import org.pockettune.PocketTuneException
import org.pockettune.TextEncoding
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.file.Path
import java.text.Normalizer

private const val END_OF_WORD = "</w>"
private const val UNKNOWN = "<|endoftext|>"
private const val IDS = 1L shl 31
private val specials = listOf("<|startoftext|>", UNKNOWN)

// Written out: what \s means differs between Java and Android. This is Unicode's White_Space.
private const val SPACE = "\\t-\\r\\u0085\\p{Z}"
private const val CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
private val spaces = Regex("[$SPACE]+")
private val special = Regex(specials.joinToString("|", transform = Regex::escape))
private val words =
    Regex("<\\|startoftext\\|>|<\\|endoftext\\|>|$CONTRACTIONS|\\p{L}+|\\p{N}|[^$SPACE\\p{L}\\p{N}]+")
private val parts = Regex("$CONTRACTIONS|\\p{L}+|\\p{N}+|[^$SPACE\\p{L}\\p{N}]+")

/**
 * CLIP's tokenizer (byte-level byte-pair encoding, Sennrich et al., arXiv 1508.07909) over the vocabulary of a bundle, to
 * the same ids as transformers'. A prompt is never cut off in silence.
 *
 * Raises `bundle_corrupt` for files that are no vocabulary and merges (`spec/bundle.md` 3), `bundle_manifest_invalid` where
 * no prompt could fit.
 */
internal class Tokenizer(
    vocabularyFile: Path,
    mergesFile: Path,
    private val text: TextEncoding,
) {
    constructor(bundle: Bundle, text: TextEncoding) :
        this(bundle.file(text.vocabularyFile), bundle.file(text.mergesFile), text)

    init {
        if (text.unconditionalIds.size < 2) {
            val why = "text.max_length leaves no place for a word: export the bundle again"
            throw PocketTuneException(ErrorCode.BUNDLE_MANIFEST_INVALID, why)
        }
    }

    private val ids: Map<String, Long> = readVocabulary(vocabularyFile)
    private val ranks: Map<Pair<String, String>, Int> = readMerges(mergesFile, ids)
    private val longestToken = ids.keys.maxOf { it.length }
    private val limit = text.maxLength - 2

    /** The prompt's `max_length` ids: start, words, end, padding. Raises `prompt_too_long`. */
    fun encode(prompt: String): LongArray {
        val found = ArrayList<Long>()
        var at = 0
        for (match in special.findAll(prompt)) {
            addText(prompt.substring(at, match.range.first), found)
            found.add(ids.getValue(match.value))
            at = match.range.last + 1
        }
        addText(prompt.substring(at), found)
        if (found.size > limit) tooLong(found.size)
        val (start, end) = text.unconditionalIds
        val row = LongArray(text.maxLength) { text.unconditionalIds.last() }
        row[0] = start
        found.forEachIndexed { index, id -> row[index + 1] = id }
        row[found.size + 1] = end
        return row
    }

    private fun tooLong(tokens: Int?): Nothing {
        val count = tokens?.toString() ?: "many more"
        throw PocketTuneException(
            ErrorCode.PROMPT_TOO_LONG,
            "the prompt has $count tokens, and the text encoder takes $limit: use fewer words",
        )
    }

    private fun addText(
        text: String,
        found: MutableList<Long>,
    ) {
        val normal = lowerCase(spaces.replace(Normalizer.normalize(text, Normalizer.Form.NFC), " "))
        for (word in words.findAll(normal)) {
            // The byte level splits once more, which only tells for a special token's text in other letters.
            for (part in parts.findAll(word.value)) addWord(part.value, found)
            // Merging takes the square of a word's length, so one that is too long in any case ends here.
            if (found.size > limit) tooLong(null)
        }
    }

    private fun addWord(
        word: String,
        found: MutableList<Long>,
    ) {
        val bytes = word.toByteArray()
        if (bytes.size.toLong() > (limit + 1L) * longestToken) tooLong(null)
        val pieces = bytes.mapTo(ArrayList()) { byteLetters[it.toInt() and 0xff] }
        pieces[pieces.lastIndex] += END_OF_WORD
        // A letter that the vocabulary lacks merges with nothing.
        while (true) {
            var best = Int.MAX_VALUE
            var place = -1
            for (i in 0 until pieces.lastIndex) {
                val rank = ranks[pieces[i] to pieces[i + 1]] ?: continue
                if (rank < best) {
                    best = rank
                    place = i
                }
            }
            if (place < 0) break
            pieces[place] += pieces.removeAt(place + 1)
        }
        pieces.mapTo(found) { ids[it] ?: ids.getValue(UNKNOWN) }
    }
}

private fun tokenizerFault(why: String): Nothing =
    throw PocketTuneException(ErrorCode.BUNDLE_CORRUPT, "the bundle's tokenizer is damaged ($why): export the bundle again")

/** Letter by letter, without a look at neighbors: Java's own writes another sigma at the end of a word. */
private fun lowerCase(text: String): String {
    val lower = StringBuilder(text.length)
    for (letter in text.codePoints()) {
        // The one letter whose lower case is two.
        if (letter == 0x130) lower.append("i\u0307") else lower.appendCodePoint(Character.toLowerCase(letter))
    }
    return lower.toString()
}

private fun readFile(path: Path): ByteArray =
    PlainFile(path).use {
        if (it.size > LARGEST_JSON) tokenizerFault("${shown("$path")} is larger than 16 MiB")
        it.read(0, it.size.toInt())
    }

private fun readVocabulary(path: Path): Map<String, Long> {
    val json =
        try {
            parseJson(readFile(path)) as? JsonObject
        } catch (fault: JsonFault) {
            tokenizerFault(fault.message.orEmpty())
        }
    val members = json?.members ?: tokenizerFault("the vocabulary is no object")
    for (mark in specials) if (mark !in members) tokenizerFault("the vocabulary lacks $mark")
    return members.mapValues { (token, id) ->
        (id as? JsonInteger)?.value?.takeIf { it in 0 until IDS } ?: tokenizerFault("the id of ${shown(token)} is none")
    }
}

private fun readMerges(
    path: Path,
    ids: Map<String, Long>,
): Map<Pair<String, String>, Int> {
    val ranks = HashMap<Pair<String, String>, Int>()
    val text =
        try {
            Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(readFile(path))).toString()
        } catch (_: CharacterCodingException) {
            tokenizerFault("the merges are not UTF-8")
        }
    val lines = text.splitToSequence('\n').map { it.removeSuffix("\r") }
    lines.filter { it.isNotEmpty() && !it.startsWith("#version") }.forEachIndexed { rank, line ->
        val pair = line.split(' ')
        val known = pair.size == 2 && pair.all { it.isNotEmpty() && it in ids } && pair[0] + pair[1] in ids
        if (!known) tokenizerFault("a merge is none: ${shown(line)}")
        ranks[pair[0] to pair[1]] = rank
    }
    return ranks
}

/** A printable letter for each byte, as GPT-2 chose them: printable Latin-1 stands for itself. */
private val byteLetters: List<String> =
    run {
        val printable = ('!'.code..'~'.code) + (0xa1..0xac) + (0xae..0xff)
        var next = 0x100
        List(0x100) { byte -> (if (byte in printable) byte else next++).toChar().toString() }
    }
