/// A run in time that the system lends: what `PersonalizationTask` does, but for the system.
struct BackgroundSlice: Sendable {
  /// What becomes of the run.
  enum End {
    /// It has finished, or the app paused it.
    case over
    /// It goes on in another slice.
    case again
    /// It is not tried again before the app asks for it.
    case failed(any Error)
  }

  private let store: Store
  private let withdrawn = Flag()

  /// `store`: that of the run.
  init(store: Store) { self.store = store }

  /// Lets the run work until it ends or the time is withdrawn. When this returns, its state is written.
  func collect(_ run: () async throws -> RunEvents) async -> End {
    var last: RunEvent?
    do {
      let events = try await run()
      if withdrawn.isSet { return .again }
      for try await event in events { last = event }
    } catch {
      return withdrawn.isSet && error is CancellationError ? .again : .failed(error)
    }
    switch last {
    case .finished: return .over
    case .stopped(_, let failing) where !failing.isEmpty: return .again
    default: return withdrawn.isSet ? .again : .over
    }
  }

  /// The time is over: lets the step under way end, and returns when the state is written.
  func withdraw() async {
    withdrawn.set()
    await store.pauseRuns()
  }
}
