import Foundation
import PocketTuneOpenSSL
import Testing

@testable import PocketTune

@Suite struct Formats {
  @Test func everyCodeOfTheSpecificationIsHere() throws {
    let declared = try json("spec/errors.json")["errors"].list.map { $0["code"].text! }
    #expect(declared.sorted() == ErrorCode.allCases.map(\.rawValue).sorted())
  }

  @Test func goldenVectors() throws {
    for entry in try json("spec/vectors/golden.json").list {
      let path = vectors.appendingPathComponent(entry["name"].text!)
      if entry["kind"].text == "bundle" {
        #expect(try ModelBundle.open(path).bundleID == entry["bundle_id"].text)
        continue
      }
      let file = try TensorFile(path.path)
      let wanted = entry["tensors"].object ?? []
      #expect(file.header.entries.count == wanted.count)
      for tensor in wanted {
        let shape = tensor.value["shape"].list.map { Int($0.integer!) }
        let found = try file.require(tensor.name, ElementType(rawValue: tensor.value["dtype"].text!)!, shape)
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: found.bytes, alignment: 16)
        defer { bytes.deallocate() }
        try file.read(found, into: bytes)
        #expect(Digest256.hex(of: Data(bytes)) == tensor.value["sha256"].text)
      }
    }
  }

  @Test func hostileVectorsAreRefusedWithTheSpecifiedCode() throws {
    let entries = try json("spec/vectors/hostile.json").list.filter { $0["kind"].text != "update" }
    #expect(entries.count > 200)
    for entry in entries {
      let path = vectors.appendingPathComponent("hostile/" + entry["name"].text!)
      let found = code {
        if entry["kind"].text == "bundle" { _ = try ModelBundle.open(path) } else { _ = try TensorFile(path.path) }
      }
      #expect(found?.rawValue == entry["code"].text, "\(entry["name"].text!)")
    }
  }

  @Test func signatures() throws {
    let cases = try json("spec/vectors/sdk/signatures.json")
    func bytes(_ value: JSON) -> [UInt8] { [UInt8](Data(base64Encoded: value.text!)!) }
    for entry in cases["messages"].list {
      let key = try OpenSSLKey(der: bytes(entry["key"]))
      let valid = key.isValid(signature: bytes(entry["signature"]), of: bytes(entry["message"]))
      #expect(valid == entry["valid"].boolean)
    }
    for entry in cases["bundles"].list {
      let key = try OpenSSLKey(der: bytes(entry["key"]))
      let found = code { _ = try ModelBundle.open(vectors.appendingPathComponent(entry["bundle"].text!), key: key) }
      #expect(found?.rawValue == entry["code"].text)
    }
    #expect(code { _ = try OpenSSLKey(der: [0x30, 0x00]) } == .configInvalid)
  }

  @Test func aFileIsWrittenAsPythonWritesIt() throws {
    let folder = try TemporaryFolder()
    let path = vectors.appendingPathComponent("every_dtype.safetensors").path
    let file = try TensorFile(path)
    let buffers = file.header.entries.map { entry in
      UnsafeMutableRawBufferPointer.allocate(byteCount: entry.bytes, alignment: 16)
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    var tensors: [TensorView] = []
    for (entry, buffer) in zip(file.header.entries, buffers) {
      try file.read(entry, into: buffer)
      tensors.append(
        TensorView(name: entry.name, type: entry.type, shape: entry.shape, bytes: UnsafeRawBufferPointer(buffer)))
    }
    try writeTensorFile(folder.path("copy"), tensors, file.metadata)
    #expect(
      try Data(contentsOf: folder.url.appendingPathComponent("copy")) == Data(contentsOf: URL(fileURLWithPath: path)))
    #expect(try namesIn(folder.url.path) == ["copy"])
  }

  /// to_chars.txt was written by `std::to_chars` of libstdc++ 12: kind, bits, text.
  @Test func numbersAreWrittenAsCppWritesThem() throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("to_chars.txt")
    let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { $0.split(separator: " ") }
    #expect(lines.count > 400)
    for line in lines {
      let bits = UInt64(line[1], radix: 16)!
      let text =
        line[0] == "d"
        ? shortestText(Double(bitPattern: bits)) : shortestText(Float(bitPattern: UInt32(bits)))
      #expect(text == line[2])
    }
  }

  @Test func digestsOfPiecesAreDigestsOfTheWhole() {
    #expect(Digest256.hex(of: Data()) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(Digest256.hex(of: Data("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    for piece in [1, 55, 56, 63, 64, 65, 130] {
      var digest = Digest256()
      for begin in stride(from: 0, to: bytes.count, by: piece) {
        bytes[begin..<min(begin + piece, bytes.count)].withUnsafeBytes { digest.update($0) }
      }
      #expect(digest.hex() == Digest256.hex(of: bytes))
    }
  }

  @Test func halvesRoundToNearestEvenAndBack() {
    for bits in UInt16.min...UInt16.max where bits & 0x7c00 != 0x7c00 || bits & 0x3ff == 0 {
      #expect(halfBits(float(halfBits: bits)) == bits)
    }
    #expect(halfBits(1 + 0x1p-11) == halfBits(1))
    #expect(halfBits(1 + 3 * 0x1p-11) == halfBits(1 + 0x1p-9))
    #expect(halfBits(65520) == 0x7c00)
    #expect(halfBits(.nan) & 0x7fff == 0x7e00)
  }

  @Test func namesThatLookTheSameAreNotTheSame() throws {
    let text = "{\"\u{e9}\":1,\"e\u{301}\":2}"
    #expect(try JSON.parse(Array(text.utf8)).object?.count == 2)
    #expect(Name("\u{e9}") != Name("e\u{301}"))
  }
}
