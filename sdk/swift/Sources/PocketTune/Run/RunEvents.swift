import Foundation

/// What a run says while it works, in order.
///
/// It is cold: nothing happens before it is iterated, and each iteration is a run, which goes on where the one before it
/// was stopped. The run is canceled with the task that iterates, or when that leaves its loop; a canceled task gets the
/// end of the sequence when the state is written.
///
///     let events = trainer.train("gestures", examples)
///     for try await event in events { print(event) }
public struct RunEvents: AsyncSequence, Sendable {
  /// What an iteration gives.
  public typealias Element = RunEvent

  let source: @Sendable () -> RunSource

  /// The events of one run, for one task.
  public struct Iterator: AsyncIteratorProtocol, Sendable {
    let source: RunSource

    /// The next event; nil when there is none to come. Throws what ended the run.
    public func next() async throws -> RunEvent? { try await source.next() }
  }

  /// A run that begins when its first event is asked for.
  public func makeAsyncIterator() -> Iterator { Iterator(source: source()) }
}

/// One run on a thread of its own, which starts when the first event is asked for. Standard streams do not do: one that
/// unfolds ends at once when it is canceled between two events, while the run is still in its last step.
///
/// `@unchecked`: its `next` is called by one task at a time.
final class RunSource: @unchecked Sendable {
  private let control: RunControl
  private let begin: @Sendable () throws -> Void
  private let end: @Sendable () -> Void
  private let body: @Sendable (@escaping (RunEvent) -> Void) throws -> Void
  private var iterator: AsyncThrowingStream<RunEvent, any Error>.Iterator?

  /// `begin` is called before anything else, `end` behind the last event.
  init(
    _ control: RunControl, begin: @escaping @Sendable () throws -> Void, end: @escaping @Sendable () -> Void,
    _ body: @escaping @Sendable (@escaping (RunEvent) -> Void) throws -> Void
  ) {
    (self.control, self.begin, self.end, self.body) = (control, begin, end, body)
  }

  // A collector that leaves its loop drops the iterator, and this with it.
  deinit { control.cancel() }

  func next() async throws -> RunEvent? {
    if iterator == nil {
      // Who is canceled before the first event gets none, and nothing happens.
      if Task.isCancelled { return nil }
      try begin()
      start()
    }
    let event = try await iterator!.next()
    if event == nil && Task.isCancelled { await waitForEnd(control) }
    return event
  }

  private func start() {
    let (stream, continuation) = AsyncThrowingStream.makeStream(of: RunEvent.self, throwing: (any Error).self)
    let (control, body, end) = (control, body, end)
    continuation.onTermination = { reason in
      if case .cancelled = reason { control.cancel() }
    }
    let thread = Thread {
      do {
        try body { continuation.yield($0) }
        continuation.finish()
      } catch {
        continuation.finish(throwing: error)
      }
      end()
      control.end()
    }
    thread.stackSize = 8 << 20
    thread.start()
    iterator = stream.makeAsyncIterator()
  }
}
