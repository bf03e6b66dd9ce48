struct FileEntry {
  let sha256: String
  let bytes: Int
}

struct View {
  let name: Name
  let shape: [Int]
  /// In elements.
  let offset: Int

  var elements: Int { elementCount(shape)! }
}

struct StateTensor {
  let type: ElementType
  let shape: [Int]
  let role: String
  /// Of the initial value; nil: zeros.
  let file: Name?
  let views: [View]

  var bytes: Int { byteCount(shape, type)! }
}

struct Cache {
  let type: ElementType
  let shape: [Int]
  let stored: ElementType
  let scope: Scope
  /// Of `random.normal`.
  let initialStream: UInt32?

  var bytes: Int { byteCount(shape, type)! }
  var storedBytes: Int { byteCount(shape, stored)! }
}

/// Numbers by name: the hyperparameters of training and generation.
typealias Numbers = [Name: Double]

struct Training {
  let program: Name
  let steps: Int
  let samples: Int
  let accumulation: Int
  let hyper: Numbers
}

struct Generation {
  enum Spacing: String, CaseIterable { case trailing, leading }

  let stepProgram: Name
  let outputProgram: Name
  let promptProgram: Name
  let steps: Int
  let trainTimesteps: Int
  let spacing: Spacing
  let stepsOffset: Int
  let hyper: Numbers
}

struct TextEncoding {
  let maxLength: Int
  let vocabulary: Name
  let merges: Name
  let unconditional: [Int64]
}

struct ImageSize {
  let height: Int
  let width: Int
}

struct AdapterFile {
  let tensors: Name
  let metadata: Metadata
}

struct Classification {
  let inputShape: [Int]
  let classes: Int
  let batchSize: Int
  let epochs: Int
  let parameters: Name
  let evaluateProgram: Name
  /// Programs that predict, and the bits of their weights.
  let predictPrograms: [Name: Int]
}

struct Budget {
  let arenaBytes: Int
  let weightBytes: Int
  let measuredPeakBytes: Int?
  let measuredSeconds: Double?
}

/// A manifest whose every member was checked (`spec/bundle.md`, 1 to 5).
struct Manifest {
  let bundleID: String
  let name: String
  let task: String
  /// Versions of what made the bundle, each engine's among them.
  let tools: [Name: String]
  let files: [Name: FileEntry]
  let tensors: [Name: StateTensor]
  let caches: [Name: Cache]
  let programs: [Name: Program]
  let preparation: [Name]
  let training: Training
  let generation: Generation?
  let text: TextEncoding?
  let image: ImageSize?
  let adapter: AdapterFile?
  let classification: Classification?
  let budget: [Name: Budget]

  /// Checks all of manifest.json's bytes; with a key, it must have signed them. Throws `bundleManifestInvalid`,
  /// `bundleCorrupt`, `bundleSignatureInvalid`, `bundleFormatUnsupported`, `bundlePathInvalid`.
  init(bytes: [UInt8], key: (any SignatureVerifier)? = nil) throws {
    let opening = try ManifestOpening(bytes)
    try opening.check(bytes, key)
    let json: JSON
    do {
      json = try JSON.parse(bytes)
    } catch let error as JSONError {
      throw invalidManifest(error.reason)
    }
    let root = ManifestReader(json, path: "")
    let format = try root.at("format").whole(.min, .max)
    guard format == 1 else {
      throw PocketTuneError(
        .bundleFormatUnsupported, "the bundle has format \(format), this SDK reads 1: export it with a matching version"
      )
    }
    bundleID = opening.bundleID
    name = try root.at("name").text()
    task = try root.at("task").text()
    tools = try root.readTools()
    files = try root.at("files").table {
      let digest = try $0.at("sha256").text()
      guard isHexDigest(digest.utf8) else { throw try $0.at("sha256").failure("is not 64 hexadecimal digits") }
      return FileEntry(sha256: digest, bytes: try $0.at("bytes").count())
    }
    tensors = try root.at("tensors").table { try $0.readTensor() }
    caches = try root.at("caches").table { try $0.readCache() }
    programs = try root.at("programs").namedTable { try $1.readProgram($0.text) }
    preparation = try root.at("preparation").list { Name(try $0.text()) }
    training = try root.at("training").readTraining()
    let pictures = task == "text_to_image"
    generation = try root.optional("generation", required: pictures) { try $0.readGeneration() }
    text = try root.optional("text", required: pictures) { try $0.readText() }
    image = try root.optional("image", required: pictures) {
      ImageSize(height: try $0.at("height").positive(), width: try $0.at("width").positive())
    }
    adapter = try root.optional("adapter", required: pictures) {
      AdapterFile(
        tensors: Name(try $0.at("tensors").text()), metadata: try $0.at("metadata").table { try $0.text() })
    }
    classification = try root.optional("classification", required: task == "classification") {
      try $0.readClassification()
    }
    budget = try root.at("budget").at("programs").table { try $0.readBudget() }
    _ = try root.at("parity").table { _ = try $0.at("tolerance").members() }
    for file in files.keys where !isBundlePath(file.text) {
      throw PocketTuneError(
        .bundlePathInvalid,
        "the manifest names the file '\(file.short)', which is not allowed: fetch or export the bundle again")
    }
    try checkReferences()
  }
}

/// The fixed beginning of manifest.json.
private struct ManifestOpening {
  let bundleID: String
  /// 64 bytes, r and s; nil when the bundle is not signed.
  let signature: [UInt8]?
  private let rest: Int

  init(_ bytes: [UInt8]) throws {
    let wrong = invalidManifest("it does not begin with bundle_id and signature")
    let opening = Array("{\"bundle_id\":\"".utf8)
    let middle = Array("\",\"signature\":\"".utf8)
    let signatureBegin = opening.count + 64 + middle.count
    guard bytes.starts(with: opening), bytes.count >= signatureBegin,
      bytes[(opening.count + 64)...].starts(with: middle)
    else { throw wrong }
    let digest = bytes[opening.count..<(opening.count + 64)]
    guard isHexDigest(digest) else { throw invalidManifest("bundle_id is not 64 hexadecimal digits") }
    bundleID = String(decoding: digest, as: UTF8.self)
    let end = Array("\",".utf8)
    // An empty signature, or 88 digits.
    guard let length = [0, 88].first(where: { bytes[(signatureBegin)...].dropFirst($0).starts(with: end) }) else {
      throw wrong
    }
    rest = signatureBegin + length + end.count
    guard length > 0 else {
      signature = nil
      return
    }
    guard let decoded = signatureBytes(bytes[signatureBegin..<(signatureBegin + length)]) else {
      throw invalidManifest("signature is neither empty nor base64 of 64 bytes")
    }
    signature = decoded
  }

  /// Checks the identifier and, with a key, the signature. Their copy of the bytes is gone before these are parsed.
  func check(_ bytes: [UInt8], _ key: (any SignatureVerifier)?) throws {
    let canonical = [UInt8(ascii: "{")] + bytes[rest...]
    guard Digest256.hex(of: canonical) == bundleID else {
      throw PocketTuneError(
        .bundleCorrupt, "manifest.json is not what its bundle_id says: fetch or export the bundle again")
    }
    if let key { try requireSignature(signature, of: canonical, by: key) }
  }
}

/// 64 bytes of canonical base64; nil for anything else.
private func signatureBytes(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  guard digits.count == 88, digits.suffix(2).elementsEqual("==".utf8) else { return nil }
  var bytes: [UInt8] = []
  var bits = 0
  var value = 0
  for digit in digits.dropLast(2) {
    guard let six = alphabet.firstIndex(of: digit) else { return nil }
    value = (value << 6 | six) & 0xffff
    bits += 6
    if bits >= 8 {
      bits -= 8
      bytes.append(UInt8(truncatingIfNeeded: value >> bits))
    }
  }
  // The last digit carries two bits of the 64th byte; the others must be zero.
  return value & (1 << bits - 1) == 0 ? bytes : nil
}

func isHexDigest(_ text: some Collection<UInt8>) -> Bool {
  text.count == 64
    && text.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (0x61...0x66).contains($0) }
}

/// 1 to 4 components of `[A-Za-z0-9_][A-Za-z0-9._-]*`, at most 200 characters, other than manifest.json.
func isBundlePath(_ name: String) -> Bool {
  let parts = name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
  return name.utf8.count <= 200 && name != "manifest.json" && parts.count <= 4 && parts.allSatisfy(isPathComponent)
}

private func isPathComponent(_ part: Substring.UTF8View) -> Bool {
  func isFirst(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x5f: return true
    default: return false
    }
  }
  guard let first = part.first, isFirst(first) else { return false }
  return part.allSatisfy { isFirst($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
}
