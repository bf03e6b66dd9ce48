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

  @Test(.timeLimit(.minutes(1))) func anEndlessWordIsRefusedAtOnce() {
    #expect(code { _ = try tokenizer.encode(String(repeating: "x", count: 1_000_000)) } == .promptTooLong)
  }
}
