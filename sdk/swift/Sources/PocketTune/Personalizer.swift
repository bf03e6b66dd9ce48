import Foundation

/// How a personalization trains. Members that are nil are the bundle's.
public struct PersonalizationSettings: Sendable, Equatable {
  /// 1 to 10,000,000.
  public var steps: Int?
  /// Training samples; at most as many as steps.
  public var samples: Int?
  /// What all randomness is drawn from: the same seed, the same bytes.
  public var seed: UInt64 = 0
  /// 0 to 1e6.
  public var learningRate: Double?
  /// Pictures of the class that the model makes beforehand and learns with the subject, so that it keeps the class; 0:
  /// none. At most 100,000; it goes with `priorWeight` and `classPrompt`.
  public var classPictures = 0
  /// Weight of those pictures in training, 0 to 1e6.
  public var priorWeight = 0.0
  /// The prompt of those pictures.
  public var classPrompt: String?
  /// Steps between two saved states.
  public var checkpointEvery = 25

  /// The bundle's own settings.
  public init() {}
}

/// Teaches a text_to_image bundle a subject from photos, and draws with it.
///
///     let personalizer = try Personalizer(bundle: bundle, store: store, engine: ExecuTorchEngine(), sensors: sensors)
///     for try await event in personalizer.personalize("rex", photos, prompt: "a sks dog") { print(event) }
///     let picture = try await personalizer.generate("a sks dog on the moon", adapter: store.adapter("rex"))
public actor Personalizer {
  nonisolated let context: RunContext

  /// What it teaches, and draws with.
  public nonisolated var bundle: ModelBundle { context.bundle }

  /// A personalizer of one bundle. `start` must hold for a run to begin, `proceed` before each of its steps.
  ///
  /// Throws `configInvalid` for a bundle of another task and for conditions that never hold, `engineVersionMismatch`.
  public init(
    bundle: ModelBundle, store: Store, engine: any Engine, sensors: any Sensors, clock: any RunClock = SystemClock(),
    start: Conditions = .start, proceed: Conditions = .proceed
  ) throws {
    try bundle.requireTask("text_to_image")
    try engine.checkVersion(of: bundle)
    for conditions in [start, proceed] { try conditions.check() }
    context = RunContext(
      bundle: bundle, store: store, engine: engine, sensors: sensors, clock: clock, start: start, proceed: proceed)
  }

  /// Learns under a name, or goes on where a run of that name stopped. One iteration of the events is one run.
  /// An accepted run's adapter is `store.adapter(name)`.
  ///
  /// Throws `photosTooFew` without a photo, `promptTooLong`, `tensorMismatch`, `configInvalid`, `stateMismatch`,
  /// `lossNotFinite`, `adapterUnchanged`, `quotaExceeded`, `diskFull`, `ioFailed` and what engines throw.
  public nonisolated func personalize(
    _ name: String, _ photos: [Pixels], prompt: String, settings: PersonalizationSettings = PersonalizationSettings()
  ) -> RunEvents {
    events(name, photos.count, prompt, settings) { _ in photos }
  }

  /// The same with images, which are cropped to the centered square and scaled.
  public nonisolated func personalize(
    _ name: String, _ photos: [RGBImage], prompt: String, settings: PersonalizationSettings = PersonalizationSettings()
  ) -> RunEvents {
    events(name, photos.count, prompt, settings) { size in
      photos.map { Pixels($0, height: size.height, width: size.width) }
    }
  }

  /// Everything, the scaling of photos too, happens on the run's thread.
  private nonisolated func events(
    _ name: String, _ count: Int, _ prompt: String, _ settings: PersonalizationSettings,
    _ photos: @escaping @Sendable (ImageSize) -> [Pixels]
  ) -> RunEvents {
    context.events(
      name, PersonalizationRun(context, name, photos: count, photos, prompt, settings).perform)
  }

  /// Lets the step under way end, writes the state, ends the run with `stopped`, and returns then.
  public func pause() async { await context.pause() }

  /// Whether a run of these settings may begin now. Does no work.
  public nonisolated func preflight(
    photos: Int, settings: PersonalizationSettings = PersonalizationSettings()
  ) throws -> Preflight {
    let plan = try PersonalizationPlan(context.bundle, settings, photos: photos)
    return context.preflight(try plan.needs(context), steps: plan.steps)
  }

  /// Forgets a run: its states, caches and result, not what it taught. Throws `ioFailed` while it works.
  public func discard(_ name: String) async throws {
    let store = context.store
    try await onThread { try store.discardRun(name) }
  }

  /// Draws a picture. `adapter` nil: the bundle's initial values, which change nothing. `steps` and `guidance` nil: the
  /// bundle's. A run that works is waited for. Throws `promptTooLong`, `tensorMismatch` for an adapter of another
  /// bundle, `configInvalid`, and `CancellationError` before the next step when its task is canceled.
  public func generate(
    _ prompt: String, adapter: URL? = nil, seed: UInt64 = 0, steps: Int? = nil, guidance: Double? = nil
  ) async throws -> RGBImage {
    let context = context
    return try await withPrograms { check in
      try Drawing(context).picture(
        prompt, adapter: adapter?.path, seed: seed, steps: steps, guidance: guidance, check: check)
    }
  }
}
