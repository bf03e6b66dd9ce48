import Foundation

/// One tensor of a safetensors file; `begin` and `end` are bytes from the start of the data.
struct TensorEntry: Equatable {
  let name: Name
  let type: ElementType
  let shape: [Int]
  let begin: Int
  let end: Int

  var bytes: Int { end - begin }
}

typealias Metadata = [Name: String]

/// What a safetensors file says about itself, checked by `spec/bundle.md`, 7.
struct TensorHeader {
  static let mostDimensions = 8

  /// In the order of their offsets.
  let entries: [TensorEntry]
  let metadata: Metadata
  private let places: [Name: Int]

  func find(_ name: Name) -> TensorEntry? { places[name].map { entries[$0] } }

  /// Checks a header's text, of a file with `dataBytes` behind it. Throws `safetensorsInvalid`.
  init(text: UnsafeRawBufferPointer, dataBytes: Int, path: String) throws {
    func invalid(_ why: String) -> PocketTuneError {
      PocketTuneError(.safetensorsInvalid, "'\(path)' is not a valid safetensors file (\(why)): write it again")
    }
    // Only spaces may follow the object, as in the format's own reference reader.
    guard let last = text.lastIndex(where: { $0 != UInt8(ascii: " ") }), text[0] == UInt8(ascii: "{"),
      text[last] == UInt8(ascii: "}")
    else { throw invalid("the header is no object with spaces after it") }
    let json: JSON
    do {
      json = try JSON.parse(text)
    } catch let error as JSONError {
      throw invalid(error.reason)
    }
    guard let members = json.object else { throw invalid("the header is no object") }
    var metadata = Metadata()
    var entries: [TensorEntry] = []
    for member in members {
      if member.name == "__metadata__" {
        guard let pairs = member.value.object else { throw invalid("__metadata__ is no object") }
        for pair in pairs {
          guard let value = pair.value.text else { throw invalid("__metadata__ holds something else than text") }
          metadata[pair.name] = value
        }
      } else if let entry = TensorHeader.entry(member) {
        entries.append(entry)
      } else {
        throw invalid("the entry of a tensor is not valid")
      }
    }
    entries.sort { ($0.begin, $0.end) < ($1.begin, $1.end) }
    var expected = 0
    for entry in entries {
      guard entry.begin == expected else { throw invalid("the tensors leave a hole or overlap") }
      expected = entry.end
    }
    guard expected == dataBytes else { throw invalid("the tensors do not cover the data exactly") }
    self.entries = entries
    self.metadata = metadata
    places = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.name, $0) })
  }

  private static func entry(_ member: JSON.Member) -> TensorEntry? {
    guard member.value.object?.count == 3,
      let type = member.value.member("dtype")?.text.flatMap(ElementType.init(fileName:)),
      let sizes = member.value.member("shape")?.array, sizes.count <= mostDimensions,
      let offsets = member.value.member("data_offsets")?.array, offsets.count == 2,
      let begin = offsets[0].integer, let end = offsets[1].integer
    else { return nil }
    let largest = Int64(1) << 53
    guard (0..<largest).contains(begin), (0..<largest).contains(end), end >= begin else { return nil }
    var shape: [Int] = []
    for size in sizes {
      guard let size = size.integer, (1...Int64(Int32.max)).contains(size) else { return nil }
      shape.append(Int(size))
    }
    guard byteCount(shape, type) == Int(end - begin) else { return nil }
    return TensorEntry(name: member.name, type: type, shape: shape, begin: Int(begin), end: Int(end))
  }
}

/// A safetensors file, its header checked; tensors are read when they are asked for.
final class TensorFile {
  let header: TensorHeader
  let file: PlainFile
  private let dataBegin: Int

  var path: String { file.path }
  var stamp: FileStamp { file.stamp }
  var metadata: Metadata { header.metadata }

  /// Throws `safetensorsInvalid`, `ioFailed`.
  init(_ path: String) throws {
    file = try PlainFile(path)
    guard file.size >= 8 else { throw TensorFile.invalid(path, "it has fewer than 8 bytes") }
    let length = try file.bytes(at: 0, count: 8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard length <= UInt64(JSON.longest), length <= UInt64(file.size - 8) else {
      throw TensorFile.invalid(path, "the header is longer than the file")
    }
    dataBegin = 8 + Int(length)
    let text = try file.bytes(at: 8, count: Int(length))
    let dataBytes = file.size - dataBegin
    header = try text.withUnsafeBytes { try TensorHeader(text: $0, dataBytes: dataBytes, path: path) }
  }

  private static func invalid(_ path: String, _ why: String) -> PocketTuneError {
    PocketTuneError(.safetensorsInvalid, "'\(path)' is not a valid safetensors file (\(why)): write it again")
  }

  /// The tensor of that name. Throws `tensorMismatch` when there is none of that type and shape.
  func require(_ name: Name, _ type: ElementType, _ shape: [Int]) throws -> TensorEntry {
    let wanted = describe(type, shape)
    guard let entry = header.find(name) else {
      throw PocketTuneError(.tensorMismatch, "'\(path)' has no tensor '\(name.short)': it needs one, \(wanted)")
    }
    guard entry.type == type, entry.shape == shape else {
      let found = describe(entry.type, entry.shape)
      throw PocketTuneError(.tensorMismatch, "tensor '\(name.short)' in '\(path)' is \(found): it must be \(wanted)")
    }
    return entry
  }

  /// Fills all of `into` from a tensor's bytes.
  func read(_ entry: TensorEntry, into: UnsafeMutableRawBufferPointer, at offset: Int = 0) throws {
    precondition(offset >= 0 && offset <= entry.bytes && into.count <= entry.bytes - offset)
    try file.read(into, at: dataBegin + entry.begin + offset)
  }

  func fileDigest() throws -> String { try file.digest() }
  func dataDigest() throws -> String { try file.digest(from: dataBegin) }
}

/// A tensor to be written: its bytes belong to the caller.
struct TensorView {
  let name: Name
  let type: ElementType
  let shape: [Int]
  let bytes: UnsafeRawBufferPointer
}

/// Length and header of a file, names sorted, padded so that the data is aligned to 8 bytes.
func tensorFileHeader(_ entries: [TensorEntry], _ metadata: Metadata) -> [UInt8] {
  func whole(_ value: Int) -> JSON { .integer(Int64(value)) }
  var members = entries.map { entry in
    JSON.Member(
      name: entry.name,
      value: .object([
        JSON.Member(name: "data_offsets", value: .array([whole(entry.begin), whole(entry.end)])),
        JSON.Member(name: "dtype", value: .text(entry.type.fileName)),
        JSON.Member(name: "shape", value: .array(entry.shape.map(whole))),
      ]))
  }
  if !metadata.isEmpty {
    let pairs = metadata.sorted { $0.key < $1.key }.map { JSON.Member(name: $0.key, value: .text($0.value)) }
    members.append(JSON.Member(name: "__metadata__", value: .object(pairs)))
  }
  members.sort { $0.name < $1.name }
  var text = Array(JSON.object(members).line.utf8)
  text.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - text.count % 8) % 8))
  let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) }
  return length + text
}

/// The entries of tensors that lie one behind the other.
func tensorEntries(_ tensors: [TensorView]) -> [TensorEntry] {
  var end = 0
  return tensors.map { tensor in
    let begin = end
    end += tensor.bytes.count
    return TensorEntry(name: tensor.name, type: tensor.type, shape: tensor.shape, begin: begin, end: end)
  }
}

/// Writes tensors in the given order, durably. Throws `diskFull`, `ioFailed`.
func writeTensorFile(_ path: String, _ tensors: [TensorView], _ metadata: Metadata) throws {
  let file = try AtomicFile(path)
  try file.append(tensorFileHeader(tensorEntries(tensors), metadata))
  for tensor in tensors { try file.append(tensor.bytes) }
  try file.commit()
}
