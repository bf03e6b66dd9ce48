import Foundation

/// CLIP's tokenizer over the vocabulary of a bundle: byte pairs, as transformers' `CLIPTokenizer` makes them.
///
/// A prompt is never cut off in silence: what a person wrote and what the model reads are the same, or it is an error.
struct Tokenizer: Sendable {
  private struct Pair: Hashable {
    let left: Name
    let right: Name
  }

  private let ids: [Name: Int64]
  private let ranks: [Pair: Int]
  private let maxLength: Int
  private let start: Int64
  private let end: Int64
  private let padding: Int64
  /// What stands for a letter that the vocabulary lacks.
  private let unknown: Int64
  private let longestToken: Int

  private static let specials = ["<|startoftext|>", "<|endoftext|>"].map { Array($0.unicodeScalars) }
  private static let contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].map { Array($0.unicodeScalars) }

  /// `vocabulary` is JSON, token to id; `merges` has a pair a line. Start, end and padding are learnt from
  /// `unconditional`, since models differ in what they pad with. Throws `bundleCorrupt` for files that are no vocabulary
  /// and merges (`spec/bundle.md` 3), `bundleManifestInvalid` where no prompt could fit.
  init(vocabulary: [UInt8], merges: [UInt8], maxLength: Int, unconditional: [Int64]) throws {
    guard unconditional.count >= 2 else { throw invalidManifest("text.max_length leaves no place for a word") }
    ids = try Tokenizer.ids(vocabulary)
    ranks = try Tokenizer.ranks(merges, ids)
    unknown = ids["<|endoftext|>"]!
    self.maxLength = maxLength
    (start, end, padding) = (unconditional[0], unconditional[1], unconditional.last!)
    longestToken = ids.keys.map { $0.text.unicodeScalars.count }.max()!  // There are two at least.
  }

  private static func ids(_ vocabulary: [UInt8]) throws -> [Name: Int64] {
    guard vocabulary.count <= JSON.longest, let members = (try? JSON.parse(vocabulary))?.object else {
      throw damaged("the vocabulary is no JSON object")
    }
    var ids: [Name: Int64] = [:]
    for member in members {
      guard let id = member.value.integer, (0..<(1 << 31)).contains(id) else {
        throw damaged("the id of '\(member.name.short)' is none")
      }
      ids[member.name] = id
    }
    for mark in specials.map({ Name(String(String.UnicodeScalarView($0))) }) where ids[mark] == nil {
      throw damaged("the vocabulary lacks \(mark)")
    }
    return ids
  }

  private static func ranks(_ merges: [UInt8], _ ids: [Name: Int64]) throws -> [Pair: Int] {
    guard let text = String(validating: merges, as: UTF8.self) else { throw damaged("the merges are not UTF-8") }
    var ranks: [Pair: Int] = [:]
    var rank = 0
    // By bytes: to Swift, a carriage return and a line feed are one letter.
    for ending in text.utf8.split(separator: UInt8(ascii: "\n")) {
      let line = ending.last == UInt8(ascii: "\r") ? ending.dropLast() : ending
      if line.isEmpty || line.starts(with: "#version".utf8) { continue }
      let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map {
        Name(String($0) ?? "")
      }
      guard parts.count == 2, parts.allSatisfy({ !$0.text.isEmpty && ids[$0] != nil }),
        ids[Name(parts[0].text + parts[1].text)] != nil
      else { throw damaged("a merge is none: '\(Name(String(line) ?? "").short)'") }
      ranks[Pair(left: parts[0], right: parts[1])] = rank
      rank += 1
    }
    return ranks
  }

  private static func damaged(_ why: String) -> PocketTuneError {
    PocketTuneError(.bundleCorrupt, "the bundle's tokenizer is damaged (\(why)): fetch or export the bundle again")
  }

  /// A prompt as `maxLength` ids. Throws `promptTooLong`.
  func encode(_ prompt: String) throws -> [Int64] {
    var tokens: [Int64] = []
    for part in Tokenizer.parts(Array(prompt.unicodeScalars)) {
      switch part {
      case .special(let text): tokens.append(ids[Name(text)]!)
      case .text(let scalars):
        for word in Tokenizer.words(Tokenizer.normalized(scalars)) {
          let letters = Tokenizer.letters(word)
          // Enough to refuse it: byte pairs of an endless word would take long.
          guard tokens.count + letters.count / longestToken + 2 <= maxLength else { throw tooLong }
          tokens += bytePairs(letters)
        }
      }
      guard tokens.count + 2 <= maxLength else { throw tooLong }
    }
    let row = [start] + tokens + [end]
    return row + [Int64](repeating: padding, count: maxLength - row.count)
  }

  private var tooLong: PocketTuneError {
    PocketTuneError(
      .promptTooLong, "the prompt has more than the \(maxLength - 2) tokens that the model reads: shorten it")
  }

  private enum Part {
    case text([Unicode.Scalar])
    case special(String)
  }

  /// The special tokens in a prompt, and what stands between them.
  private static func parts(_ scalars: [Unicode.Scalar]) -> [Part] {
    var parts: [Part] = []
    var text: [Unicode.Scalar] = []
    var at = 0
    while at < scalars.count {
      if let special = specials.first(where: { scalars[at...].starts(with: $0) }) {
        parts += [.text(text), .special(String(String.UnicodeScalarView(special)))]
        text = []
        at += special.count
      } else {
        text.append(scalars[at])
        at += 1
      }
    }
    return parts + [.text(text)]
  }

  /// Composed, white space as single spaces, each letter in lower case.
  private static func normalized(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
    let composed = String(String.UnicodeScalarView(scalars)).precomposedStringWithCanonicalMapping.unicodeScalars
    return composed.flatMap {
      $0.properties.isWhitespace ? [" "] : Array($0.properties.lowercaseMapping.unicodeScalars)
    }
  }

  private enum Kind {
    case letter, number, space, other

    init(_ scalar: Unicode.Scalar) {
      switch scalar.properties.generalCategory {
      case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
      case .decimalNumber, .letterNumber, .otherNumber: self = .number
      default: self = scalar.properties.isWhitespace ? .space : .other
      }
    }
  }

  /// Contractions, runs of letters, single digits, runs of anything else; white space falls away.
  private static func words(_ scalars: [Unicode.Scalar]) -> [[Unicode.Scalar]] {
    var words: [[Unicode.Scalar]] = []
    var at = 0
    while at < scalars.count {
      let rest = scalars[at...]
      if let special = specials.first(where: { rest.starts(with: $0) }) {
        // It was not one before the letters were made small: a word like others, but for what stands beside it.
        words += [Array(special[..<2]), Array(special[2..<(special.count - 2)]), Array(special.suffix(2))]
        at += special.count
        continue
      }
      if let contraction = contractions.first(where: { rest.starts(with: $0) }) {
        words.append(contraction)
        at += contraction.count
        continue
      }
      let kind = Kind(scalars[at])
      let length = kind == .number ? 1 : rest.prefix { Kind($0) == kind }.count
      if kind != .space { words.append(Array(rest.prefix(length))) }
      at += length
    }
    return words
  }

  /// One printable letter for each byte of a word, the last with the mark of a word's end.
  private static func letters(_ word: [Unicode.Scalar]) -> [Name] {
    let bytes = String(String.UnicodeScalarView(word)).utf8
    var letters = bytes.map { Name(String(byteLetters[Int($0)])) }
    letters[letters.count - 1] = Name(letters[letters.count - 1].text + "</w>")
    return letters
  }

  /// GPT-2's letters for bytes: themselves where they print, else the next ones from 256 on.
  private static let byteLetters: [Character] = {
    var next: UInt32 = 256
    return (UInt32(0)..<256).map { byte in
      if (0x21...0x7e).contains(byte) || (0xa1...0xac).contains(byte) || (0xae...0xff).contains(byte) {
        return Character(Unicode.Scalar(byte)!)
      }
      defer { next += 1 }
      return Character(Unicode.Scalar(next)!)
    }
  }()

  private func bytePairs(_ letters: [Name]) -> [Int64] {
    var tokens = letters
    while tokens.count > 1 {
      var best: (rank: Int, at: Int)?
      for at in 0..<(tokens.count - 1) {
        if let rank = ranks[Pair(left: tokens[at], right: tokens[at + 1])], rank < best?.rank ?? .max {
          best = (rank, at)
        }
      }
      guard let at = best?.at else { break }
      tokens.replaceSubrange(at...(at + 1), with: [Name(tokens[at].text + tokens[at + 1].text)])
    }
    return tokens.map { ids[$0] ?? unknown }
  }
}

extension ModelBundle {
  /// The tokenizer whose vocabulary the bundle carries.
  func tokenizer() throws -> Tokenizer {
    let text = manifest.text!
    return try Tokenizer(
      vocabulary: try bytes(text.vocabulary), merges: try bytes(text.merges), maxLength: text.maxLength,
      unconditional: text.unconditional)
  }
}
