/// What the frozen net says about every photo, prompt and sample, computed once before training.
struct Preparation {
  let context: RunContext
  let plan: PersonalizationPlan
  /// The subject's prompt, the class's when there is one, and the unconditional one.
  let batch: PhotoBatch
  /// Throws `Halt` when nothing more may run.
  let check: () throws -> Void
  let emit: (RunEvent) -> Void

  private var manifest: Manifest { context.bundle.manifest }

  /// Runs the programs, and gives the file its name.
  func fill(_ caches: CacheFile) throws {
    if plan.classPictures > 0 { try makeClassPictures(caches) }
    let names = plan.preparation.reduce(into: Set<Name>()) { $0.formUnion($1.program.state) }
    let state = try TrainingState(context.bundle, names)
    for (program, scope) in plan.preparation {
      let executor = try Executor(
        context.engine, context.bundle, program, seed: plan.seed, hyper: plan.hyper, batch: batch, state: state,
        caches: caches)
      let total = plan.runs(scope)
      for index in 0..<total {
        try check()
        var item = scope == .sample ? plan.item(index) : Item()
        if scope == .photo { item.photo = index }
        if scope == .prompt { item.prompt = index }
        try executor.run(item)
        emit(.prepared(program: program.name, done: index + 1, total: total))
      }
    }
    try caches.finish()
  }

  /// Class pictures are made by the net itself, before it learns; their latents stand behind the photos'.
  private func makeClassPictures(_ caches: CacheFile) throws {
    let (source, from) = try manifest.pictureCache()
    let candidates = plan.caches.filter { name in
      let cache = manifest.caches[name]!
      return cache.scope == .photo && cache.shape == from.shape && cache.type == from.type
    }
    guard candidates.count == 1 else {
      throw PocketTuneError(
        .configInvalid, "this bundle has no single cache for the latents of class pictures: train without them")
    }
    let to = manifest.caches[candidates[0]]!
    let generation = manifest.generation!
    let pictures = MemoryCache()
    let denoising = Denoising(
      context: context, batch: batch, state: try TrainingState(context.bundle, manifest.generationState),
      caches: pictures, seed: plan.seed, hyper: generation.hyper)
    let total = plan.classPictures * generation.steps
    let prompts = [Int](repeating: 1, count: plan.classPictures)
    try denoising.pictures(prompts, steps: generation.steps, check: check) { done in
      emit(.prepared(program: generation.stepProgram.text, done: done, total: total))
    }
    let (made, full, kept) = (try Buffer(from.storedBytes), try Buffer(from.bytes), try Buffer(to.storedBytes))
    for index in 0..<plan.classPictures {
      try pictures.read(source, index, into: made.bytes)
      convert(made.readable, from.stored, to: full.bytes, from.type)
      convert(full.readable, to.type, to: kept.bytes, to.stored)
      try caches.write(candidates[0], plan.photos + index, kept.readable)
    }
  }
}
