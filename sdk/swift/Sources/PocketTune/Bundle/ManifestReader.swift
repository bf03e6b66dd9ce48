func invalidManifest(_ why: String) -> PocketTuneError {
  PocketTuneError(
    .bundleManifestInvalid, "manifest.json is not valid: \(cut(why, 300)); fetch or export the bundle again")
}

/// A member of the manifest. Every access throws `bundleManifestInvalid` when the member is of another kind.
struct ManifestReader {
  private let value: JSON
  private let path: String

  init(_ value: JSON, path: String) {
    self.value = value
    self.path = path
  }

  func failure(_ why: String) -> PocketTuneError {
    invalidManifest((path.isEmpty ? "the document" : String(path.dropFirst())) + " " + why)
  }

  func has(_ name: Name) -> Bool { value.member(name) != nil }
  var isNull: Bool {
    if case .null = value { return true }
    return false
  }

  func at(_ name: Name) throws -> ManifestReader {
    _ = try members()
    guard let member = value.member(name) else {
      throw ManifestReader(value, path: "\(path).\(name)").failure("is missing")
    }
    return ManifestReader(member, path: "\(path).\(name)")
  }

  /// Reads a member that some tasks need and any bundle may have.
  func optional<Value>(_ name: Name, required: Bool, _ read: (ManifestReader) throws -> Value) throws -> Value? {
    required || has(name) ? try read(try at(name)) : nil
  }

  func members() throws -> [JSON.Member] {
    guard let members = value.object else { throw failure("is no object") }
    return members
  }

  func namedTable<Value>(_ read: (Name, ManifestReader) throws -> Value) throws -> [Name: Value] {
    var table: [Name: Value] = [:]
    for member in try members() {
      table[member.name] = try read(member.name, ManifestReader(member.value, path: "\(path).\(member.name.short)"))
    }
    return table
  }

  func table<Value>(_ read: (ManifestReader) throws -> Value) throws -> [Name: Value] {
    try namedTable { try read($1) }
  }

  func list<Value>(_ read: (ManifestReader) throws -> Value) throws -> [Value] {
    guard let values = value.array else { throw failure("is no list") }
    return try values.enumerated().map { try read(ManifestReader($1, path: "\(path)[\($0)]")) }
  }

  func text() throws -> String {
    guard let text = value.text else { throw failure("is not text") }
    return text
  }

  /// One of the cases of an enumeration, by its name.
  func choice<Choice: RawRepresentable & CaseIterable>(_: Choice.Type) throws -> Choice
  where Choice.RawValue == String {
    let text = Name(try text())
    guard let found = Choice.allCases.first(where: { Name($0.rawValue) == text }) else {
      throw failure("is none of \(Choice.allCases.map(\.rawValue).joined(separator: " "))")
    }
    return found
  }

  func oneOf(_ allowed: [Name]) throws -> Name {
    let text = Name(try text())
    guard allowed.contains(text) else {
      throw failure("is none of \(allowed.map(\.text).joined(separator: " "))")
    }
    return text
  }

  func whole(_ low: Int64, _ high: Int64) throws -> Int64 {
    guard let whole = value.integer else { throw failure("is not a whole number") }
    guard low <= whole, whole <= high else { throw failure("is \(whole), out of range") }
    return whole
  }

  /// 0 to 2^53 - 1.
  func count() throws -> Int { Int(try whole(0, 1 << 53 - 1)) }
  /// 1 to 2^31 - 1.
  func positive() throws -> Int { Int(try whole(1, Int64(Int32.max))) }

  func number() throws -> Double {
    guard let number = value.number else { throw failure("is not a number") }
    return number
  }

  func type() throws -> ElementType { try choice(ElementType.self) }

  func shape() throws -> [Int] {
    let shape = try list { try $0.positive() }
    guard shape.count <= TensorHeader.mostDimensions else { throw failure("has more than 8 dimensions") }
    guard elementCount(shape) != nil else { throw failure("is too large") }
    return shape
  }

  func numbers() throws -> Numbers { try table { try $0.number() } }
}

extension ManifestReader {
  private func checkBytes(_ shape: [Int], _ type: ElementType) throws {
    guard let bytes = byteCount(shape, type), bytes <= 1 << 40 else { throw failure("has more than 2^40 bytes") }
  }

  /// Checks the members about the method and the tools; gives these tools' versions.
  func readTools() throws -> [Name: String] {
    _ = try at("method").at("name").text()
    _ = try at("method").at("config").members()
    let tools = try at("tools").table { try $0.text() }
    let bits = try at("precision").at("frozen_bits")
    guard [8, 32].contains(try bits.whole(.min, .max)) else { throw bits.failure("is not 8 or 32") }
    _ = try at("precision").at("state").oneOf(["float32"])
    _ = try at("precision").at("wire").oneOf(["float32"])
    return tools
  }

  func readTensor() throws -> StateTensor {
    let type = try at("dtype").type()
    let shape = try at("shape").shape()
    let role = try at("role").oneOf(["adapter", "model", "moment", "accumulator", "counter"])
    let file = try at("file").isNull ? nil : Name(try at("file").text())
    try checkBytes(shape, type)
    return StateTensor(
      type: type, shape: shape, role: role.text, file: file,
      views: has("views") ? try at("views").readViews(covering: elementCount(shape)!) : [])
  }

  private func readViews(covering elements: Int) throws -> [View] {
    var names: Set<Name> = []
    var expected = 0
    let views = try list { reader in
      let view = View(
        name: Name(try reader.at("name").text()), shape: try reader.at("shape").shape(),
        offset: try reader.at("offset").count())
      guard view.offset == expected else { throw try reader.at("offset").failure("leaves a gap or overlaps") }
      guard names.insert(view.name).inserted else { throw try reader.at("name").failure("stands twice") }
      let (sum, overflow) = expected.addingReportingOverflow(view.elements)
      guard !overflow else { throw reader.failure("is too large") }
      expected = sum
      return view
    }
    guard views.isEmpty || expected == elements else { throw failure("does not cover the tensor") }
    return views
  }

  func readCache() throws -> Cache {
    let type = try at("dtype").type()
    let shape = try at("shape").shape()
    let stored = try at("stored").type()
    let scope = try at("scope").choice(Scope.self)
    guard scope.isOfCaches else { throw try at("scope").failure("is no scope of a cache") }
    try checkBytes(shape, type)
    guard stored == type || (type == .float32 && stored == .float16) else {
      throw try at("stored").failure("is no way to store that dtype")
    }
    var stream: UInt32?
    if has("initial") {
      _ = try at("initial").at("binding").oneOf(["random.normal"])
      stream = UInt32(try at("initial").at("stream").whole(0, Int64(UInt32.max)))
    }
    return Cache(type: type, shape: shape, stored: stored, scope: scope, initialStream: stream)
  }

  func readProgram(_ name: String) throws -> Program {
    let engines = try at("engines").table {
      Program.Entry(file: try $0.at("file").text(), method: try $0.at("method").text())
    }
    guard !engines.isEmpty else { throw try at("engines").failure("is empty") }
    return Program(
      name: name, inputs: try at("inputs").list { try $0.readArgument() },
      outputs: try at("outputs").list { try $0.readArgument() }, engines: engines)
  }

  private func readArgument() throws -> Argument {
    guard let binding = Binding(text: try at("binding").text()) else {
      throw try at("binding").failure("is no known binding")
    }
    var argument = Argument(
      name: try at("name").text(), type: try at("dtype").type(), shape: try at("shape").shape(), binding: binding)
    try checkBytes(argument.shape, argument.type)
    let limit = Int64(1) << 53 - 1
    let integer = binding == .randomInteger
    if binding.isRandom || has("stream") {
      argument.stream = UInt32(try at("stream").whole(0, Int64(UInt32.max)))
    }
    if binding.isRandom || has("index") { argument.index = try at("index").choice(Scope.self) }
    if integer || has("low") { argument.low = try at("low").whole(-limit, limit) }
    if integer || has("high") { argument.high = try at("high").whole(-limit, limit) }
    if has("prompt") {
      argument.unconditional = try at("prompt").oneOf(["conditional", "unconditional"]) == "unconditional"
    }
    return argument
  }

  func readTraining() throws -> Training {
    Training(
      program: Name(try at("program").text()), steps: try at("steps").positive(),
      samples: try at("samples").positive(), accumulation: try at("accumulation").positive(),
      hyper: try at("hyper").numbers())
  }

  func readGeneration() throws -> Generation {
    Generation(
      stepProgram: Name(try at("step_program").text()), outputProgram: Name(try at("output_program").text()),
      promptProgram: Name(try at("prompt_program").text()), steps: try at("steps").positive(),
      trainTimesteps: try at("train_timesteps").positive(),
      spacing: try at("spacing").choice(Generation.Spacing.self), stepsOffset: try at("steps_offset").count(),
      hyper: try at("hyper").numbers())
  }

  func readText() throws -> TextEncoding {
    TextEncoding(
      maxLength: try at("max_length").positive(), vocabulary: Name(try at("tokenizer").at("vocab").text()),
      merges: Name(try at("tokenizer").at("merges").text()),
      unconditional: try at("unconditional_ids").list { Int64(try $0.count()) })
  }

  func readClassification() throws -> Classification {
    Classification(
      inputShape: try at("input_shape").shape(), classes: try at("classes").positive(),
      batchSize: try at("batch_size").positive(), epochs: try at("epochs").positive(),
      parameters: Name(try at("parameters").text()), evaluateProgram: Name(try at("evaluate_program").text()),
      predictPrograms: try at("predict_programs").table { reader in
        let bits = try reader.at("bits").whole(2, 32)
        guard bits <= 8 || bits == 32 else { throw try reader.at("bits").failure("is not 2 to 8 or 32") }
        _ = try reader.at("arithmetic").oneOf(["float32"])
        return Int(bits)
      })
  }

  func readBudget() throws -> Budget {
    var peak: Int?
    var seconds: Double?
    if has("measured") {
      let measured = try at("measured")
      _ = try measured.members()
      // What cannot have been measured was not: a plan is made of these, and no format checks them.
      peak = measured.value.member("peak_pss_bytes")?.integer.flatMap { (0..<1 << 53).contains($0) ? Int($0) : nil }
      seconds = measured.value.member("median_seconds")?.number.flatMap { (0...1e6).contains($0) ? $0 : nil }
    }
    return Budget(
      arenaBytes: try at("arena_bytes").count(), weightBytes: try at("weight_bytes").count(),
      measuredPeakBytes: peak, measuredSeconds: seconds)
  }
}
