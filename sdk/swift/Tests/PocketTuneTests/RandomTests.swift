import Foundation
import Testing

@testable import PocketTune

@Suite struct RandomNumbers {
  private let cases: JSON

  init() throws { cases = try json("spec/vectors/random.json") }

  @Test func words() {
    for entry in cases["words"].list {
      let words = Philox.words(key(entry), block: UInt32(entry["block"].unsigned))
      #expect([words.0, words.1, words.2, words.3] == entry["words"].list.map { UInt32($0.unsigned) })
    }
  }

  @Test func integers() throws {
    for entry in cases["integers"].list {
      let wanted = entry["values"].list.map { $0.integer! }
      let found = try Buffer(8 * wanted.count)
      Philox.fill(found.integers, key(entry), low: entry["low"].integer!, high: entry["high"].integer!)
      #expect(Array(found.integers) == wanted)
    }
  }

  @Test func uniformsBitForBit() throws { try check("uniforms") { Philox.fillUniform($0.floats, $1) } }
  @Test func normalsBitForBit() throws { try check("normals") { Philox.fillNormal($0.floats, $1) } }

  private func check(_ name: Name, _ fill: (Buffer, RandomKey) -> Void) throws {
    for entry in cases[name].list {
      let wanted = entry["bits"].list.map { UInt32($0.unsigned) }
      let found = try Buffer(4 * wanted.count)
      fill(found, key(entry))
      #expect(found.floats.map(\.bitPattern) == wanted)
    }
  }

  @Test func everyKindOfWord() {
    let words = cases["of_words"]["words"].list.map { UInt32($0.unsigned) }
    let uniforms = cases["of_words"]["uniforms"].list.map { UInt32($0.unsigned) }
    let normals = cases["of_words"]["normals"].list.map { UInt32($0.unsigned) }
    #expect(words.map { Philox.uniform($0).bitPattern } == uniforms)
    #expect(words.map { Philox.normal($0).bitPattern } == normals)
  }

  private func key(_ entry: JSON) -> RandomKey {
    RandomKey(
      seed: entry["seed"].unsigned, stream: UInt32(entry["stream"].unsigned), index: entry["index"].unsigned)
  }
}
