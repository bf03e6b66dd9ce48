import Foundation

/// What a personalization will do, its settings checked.
struct PersonalizationPlan {
  private static let mostSteps = 10_000_000
  private static let mostClassPictures = 100_000

  let bundle: ModelBundle
  let steps: Int
  let samples: Int
  let photos: Int
  /// Pictures of the class that are made beforehand; 0: none.
  let classPictures: Int
  /// Weight of a class sample's loss.
  let priorWeight: Double
  let hyper: Numbers
  let checkpointEvery: Int
  let seed: UInt64
  /// Programs that run before training, with what each runs once for.
  let preparation: [(program: Program, scope: Scope)]
  /// Caches that they fill, sorted.
  let caches: [Name]

  /// Throws `configInvalid`, `photosTooFew`.
  init(_ bundle: ModelBundle, _ settings: PersonalizationSettings, photos: Int) throws {
    guard photos > 0 else { throw PocketTuneError(.photosTooFew, "there is no photo: give at least one") }
    let training = bundle.manifest.training
    self.bundle = bundle
    self.photos = photos
    steps = settings.steps ?? training.steps
    try require("steps", steps, 1...PersonalizationPlan.mostSteps)
    let wanted = settings.samples ?? training.samples
    try require("samples", wanted, 1...PersonalizationPlan.mostSteps)
    samples = min(wanted, steps)
    checkpointEvery = settings.checkpointEvery
    try require("checkpointEvery", checkpointEvery, 1...PersonalizationPlan.mostSteps)
    seed = settings.seed
    classPictures = settings.classPictures
    try require("classPictures", classPictures, 0...PersonalizationPlan.mostClassPictures)
    priorWeight = settings.priorWeight
    try require("priorWeight", priorWeight, 0...1e6)
    guard Set([classPictures > 0, priorWeight > 0, settings.classPrompt != nil]).count == 1 else {
      throw PocketTuneError(
        .configInvalid, "prior preservation needs classPictures, priorWeight and classPrompt together: give all or none"
      )
    }
    var hyper = training.hyper
    if let rate = settings.learningRate {
      try require("learningRate", rate, 0...1e6)
      guard hyper["learning_rate"] != nil else {
        throw PocketTuneError(.configInvalid, "this bundle's training takes no learning rate: leave it out")
      }
      hyper["learning_rate"] = rate
    }
    self.hyper = hyper
    preparation = try bundle.manifest.preparation.map { name in
      let program = try bundle.program(name)
      let caches = program.outputs.compactMap(\.binding.cache).compactMap { bundle.manifest.caches[$0] }
      guard let scope = caches.first?.scope, scope != .picture else {
        throw PocketTuneError(
          .bundleManifestInvalid,
          "preparation program '\(name.short)' must fill caches of one scope: prompt, photo or sample; export the "
            + "bundle again")
      }
      return (program, scope)
    }
    caches = Set(preparation.flatMap { $0.program.outputs.compactMap(\.binding.cache) }).sorted()
  }

  private var prompts: Int { classPictures > 0 ? 2 : 1 }

  /// How many values a cache of each scope has. Class pictures stand behind the photos.
  var items: [Scope: Int] { [.prompt: prompts, .photo: photos + classPictures, .sample: samples] }

  /// How often a program of that scope runs.
  func runs(_ scope: Scope) -> Int { scope == .photo ? photos : items[scope] ?? 0 }

  var stateNames: Set<Name> {
    bundle.manifest.programs[bundle.manifest.training.program]!.state.union([bundle.manifest.adapter!.tensors])
  }

  func needs(_ context: RunContext) throws -> Needs {
    let state = TrainingState.bytes(bundle, stateNames)
    let cached = try CacheFile.plan(bundle, caches, items).values.map(\.end).max() ?? 0
    let adapter = TrainingState.bytes(bundle, [bundle.manifest.adapter!.tensors])
    var programs = bundle.manifest.preparation + [bundle.manifest.training.program]
    if classPictures > 0, let generation = bundle.manifest.generation {
      programs += [generation.promptProgram, generation.stepProgram]
    }
    return Needs(
      memoryBytes: context.peakBytes(programs, stateBytes: state),
      storageBytes: Int64(cached + 2 * (state + 4 * steps) + adapter))
  }

  /// What the caches depend on.
  func cacheIdentity(inputs: String, engine: String) -> Metadata {
    [
      "bundle_id": bundle.bundleID, "inputs_sha256": inputs, "seed": String(seed), "samples": String(samples),
      "class_pictures": String(classPictures), "engine": engine,
    ]
  }

  /// What the states depend on.
  func identity(inputs: String, engine: String) -> Metadata {
    var identity = cacheIdentity(inputs: inputs, engine: engine)
    identity["steps"] = String(steps)
    identity["prior_weight"] = shortestText(priorWeight)
    for (name, value) in hyper { identity[name] = shortestText(value) }
    return identity
  }

  /// What a training sample is made of (`spec/bundle.md`, 4).
  func item(_ sample: Int) -> Item {
    var item = Item()
    item.sample = sample
    if classPictures == 0 {
      item.photo = sample % photos
    } else if sample % 2 == 0 {
      item.photo = sample / 2 % photos
    } else {
      item.prompt = 1
      item.photo = photos + sample / 2 % classPictures
      item.weight = Float(priorWeight)
    }
    return item
  }
}

/// What a person gives: photos and tokenized prompts, that of the class behind the subject's.
struct Subject {
  let photos: [Pixels]
  let prompts: [[Int64]]

  /// SHA-256 of the safetensors file that holds photos and prompts as PocketTune's tools write it: the widest first, then
  /// by name.
  func digest(_ size: ImageSize) throws -> String {
    let pixels = try Buffer(photos.reduce(0) { $0 + 4 * $1.values.count })
    var at = 0
    for photo in photos {
      photo.values.withUnsafeBytes { pixels.bytes[at..<(at + $0.count)].copyBytes(from: $0) }
      at += 4 * photo.values.count
    }
    let ids = try Buffer(prompts.reduce(0) { $0 + 8 * $1.count })
    _ = ids.integers.update(fromContentsOf: prompts.joined())
    var tensors: [TensorView] = []
    at = 0
    for (index, prompt) in prompts.enumerated() {
      let bytes = UnsafeRawBufferPointer(rebasing: ids.readable[at..<(at + 8 * prompt.count)])
      tensors.append(
        TensorView(
          name: index == 0 ? "input_ids" : "class_input_ids", type: .int64, shape: [1, prompt.count], bytes: bytes))
      at += bytes.count
    }
    tensors.sort { $0.name < $1.name }
    tensors.append(
      TensorView(
        name: "pixels", type: .float32, shape: [photos.count, 3, size.height, size.width], bytes: pixels.readable))
    var digest = Digest256()
    tensorFileHeader(tensorEntries(tensors), [:]).withUnsafeBytes { digest.update($0) }
    for tensor in tensors { digest.update(tensor.bytes) }
    return digest.hex()
  }
}
