import Foundation
import Testing

@testable import PocketTune

@Suite struct Prompts {
  private let cases: JSON
  private let tokenizer: Tokenizer

  init() throws {
    cases = try json("spec/vectors/sdk/tokenizer.json")
    let folder = vectors.appendingPathComponent("sdk/tokenizer")
    tokenizer = try Tokenizer(
      vocabulary: [UInt8](Data(contentsOf: folder.appendingPathComponent("vocab.json"))),
      merges: [UInt8](Data(contentsOf: folder.appendingPathComponent("merges.txt"))),
      maxLength: Int(cases["max_length"].integer!), unconditional: cases["unconditional_ids"].list.map { $0.integer! })
  }

  @Test func areReadAsTransformersReadsThem() throws {
    #expect(cases["prompts"].list.count >= 30)
    for entry in cases["prompts"].list {
      let prompt = entry["prompt"].text!
      var ids: [Int64] = []
      let refused = code { ids = try tokenizer.encode(prompt) }
      #expect(refused?.rawValue == entry["code"].text, "\(prompt)")
      #expect(ids == entry["ids"].list.map { $0.integer! }, "\(prompt)")
    }
  }

  @Test func areReadByAVocabularyThatIsOne() throws {
    #expect(cases["files"].list.count >= 20)
    for entry in cases["files"].list {
      var ids: [Int64] = []
      let refused = code {
        ids = try made(entry["vocab"].text!.utf8, entry["merges"].text!.utf8, [0, 1, 1, 1]).encode("ab")
      }
      #expect(refused?.rawValue == entry["code"].text, "\(entry["name"].text!)")
      #expect(ids == entry["ids"].list.map { $0.integer! }, "\(entry["name"].text!)")
    }
    let sound = cases["files"].list[0]["vocab"].text!.utf8
    #expect(code { _ = try made(sound, [0xff], [0, 1]) } == .bundleCorrupt)
    #expect(code { _ = try made(sound, [], [0]) } == .bundleManifestInvalid)
  }

  private func made(
    _ vocabulary: some Sequence<UInt8>, _ merges: some Sequence<UInt8>, _ unconditional: [Int64]
  ) throws -> Tokenizer {
    try Tokenizer(
      vocabulary: [UInt8](vocabulary), merges: [UInt8](merges), maxLength: unconditional.count,
      unconditional: unconditional)
  }

  @Test(.timeLimit(.minutes(1))) func anEndlessWordIsRefusedAtOnce() {
    #expect(code { _ = try tokenizer.encode(String(repeating: "x", count: 1_000_000)) } == .promptTooLong)
  }
}
