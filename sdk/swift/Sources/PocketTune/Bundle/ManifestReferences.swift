/// Whether the parts of a manifest agree: every name names something, and two descriptions of one thing are equal.
extension Manifest {
  /// Throws `bundleManifestInvalid`.
  func checkReferences() throws {
    for (name, tensor) in tensors {
      if let file = tensor.file { try require(files, file, "files", "tensors.\(name.short)") }
    }
    for (name, program) in programs { try check(program, "programs.\(name.short)") }
    for name in preparation { try require(programs, name, "programs", "preparation") }
    for name in budget.keys { try require(programs, name, "programs", "budget.programs") }
    try require(programs, training.program, "programs", "training.program")
    if let generation {
      try require(programs, generation.promptProgram, "programs", "generation.prompt_program")
      try require(programs, generation.stepProgram, "programs", "generation.step_program")
      try require(programs, generation.outputProgram, "programs", "generation.output_program")
    }
    if let text {
      for file in [text.vocabulary, text.merges] { try require(files, file, "files", "text.tokenizer") }
      guard text.unconditional.count == text.maxLength else {
        throw invalidManifest("text.unconditional_ids has not max_length numbers")
      }
    }
    if let adapter { try checkPack(adapter.tensors, "adapter.tensors") }
    if let classification {
      try checkPack(classification.parameters, "classification.parameters")
      try require(programs, classification.evaluateProgram, "programs", "classification.evaluate_program")
      for name in classification.predictPrograms.keys {
        try require(programs, name, "programs", "classification.predict_programs")
      }
    }
  }

  private func require<Value>(_ table: [Name: Value], _ name: Name, _ title: String, _ user: String) throws {
    guard table[name] != nil else { throw invalidManifest("\(user) names '\(name.short)', which \(title) lacks") }
  }

  private func checkPack(_ name: Name, _ user: String) throws {
    guard let tensor = tensors[name], !tensor.views.isEmpty, tensor.type == .float32 else {
      throw invalidManifest("\(user) names no float32 pack with views: '\(name.short)'")
    }
  }

  private func check(_ program: Program, _ user: String) throws {
    for entry in program.engines.values { try require(files, Name(entry.file), "files", user) }
    for input in program.inputs { try check(input, isOutput: false, "\(user) input \(cut(input.name, 100))") }
    for output in program.outputs { try check(output, isOutput: true, "\(user) output \(cut(output.name, 100))") }
    // All outputs that fill caches are about items of one scope, for which the program runs once.
    let scopes = Set(program.outputs.compactMap(\.binding.cache).compactMap { caches[$0]?.scope })
    guard scopes.count <= 1 else { throw invalidManifest("\(user) has outputs of several scopes") }
  }

  private func check(_ argument: Argument, isOutput: Bool, _ user: String) throws {
    switch argument.binding {
    case .state(let name):
      guard let tensor = tensors[name] else { throw invalidManifest("\(user) is bound to no tensor '\(name.short)'") }
      try checkSame(argument, tensor.type, tensor.shape, user)
    case .cache(let name):
      guard let cache = caches[name] else { throw invalidManifest("\(user) is bound to no cache '\(name.short)'") }
      try checkSame(argument, cache.type, cache.shape, user)
    case .loss, .metric:
      guard isOutput else { throw invalidManifest("\(user) is an input, which cannot be a loss or metric") }
      guard argument.type == .float32, argument.shape.isEmpty || argument.shape == [1] else {
        throw invalidManifest("\(user) must be one float32")
      }
    case .output:
      guard isOutput else { throw invalidManifest("\(user) is an input, which cannot be bound to an output") }
    case .randomNormal, .randomUniform:
      try checkSource(argument, isOutput, [.float32], user)
    case .randomInteger:
      try checkSource(argument, isOutput, [.int64], user)
      guard argument.high > argument.low, argument.high - argument.low <= 1 << 32 else {
        throw invalidManifest("\(user) must have a range of 1 to 2^32")
      }
    case .hyper:
      try checkSource(argument, isOutput, [.float32, .int64], user)
    case .batch:
      try checkSource(argument, isOutput, ElementType.allCases, user)
    }
  }

  private func checkSource(_ argument: Argument, _ isOutput: Bool, _ types: [ElementType], _ user: String) throws {
    guard !isOutput else { throw invalidManifest("\(user) is an output, which cannot be bound to an input's source") }
    guard types.contains(argument.type) else {
      throw invalidManifest("\(user) must be \(types.map(\.rawValue).joined(separator: " or "))")
    }
  }

  private func checkSame(_ argument: Argument, _ type: ElementType, _ shape: [Int], _ user: String) throws {
    guard argument.type == type, argument.shape == shape else {
      throw invalidManifest("\(user) has another dtype or shape than what it is bound to")
    }
  }
}
