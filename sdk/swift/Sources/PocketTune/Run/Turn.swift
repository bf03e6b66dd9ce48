import Foundation

/// Taken by one after the other; who waits for it can be told not to wait any longer.
final class Turn: @unchecked Sendable {
  private let condition = NSCondition()
  private var isTaken = false

  /// Calls `body` when it is free, and gives nil when `leaves` says so before. Who changes what `leaves` looks at calls
  /// `lookAgain`. It blocks the calling thread.
  func take<Value>(unless leaves: () -> Bool, _ body: () throws -> Value) rethrows -> Value? {
    let taken = condition.withLock {
      while isTaken && !leaves() { condition.wait() }
      if leaves() { return false }
      isTaken = true
      return true
    }
    guard taken else { return nil }
    defer {
      condition.withLock {
        isTaken = false
        condition.broadcast()
      }
    }
    return try body()
  }

  /// Lets all that wait ask again whether they shall.
  func lookAgain() { condition.withLock { condition.broadcast() } }
}

/// Held by whatever opens sessions, so that no two programs are resident together.
let oneAtATime = Turn()

/// Works with programs on a thread of its own, when no other does. `body` is given what throws `CancellationError` once
/// the caller's task is canceled; while it waits, that is thrown at once.
func withPrograms<Value: Sendable>(
  _ body: @escaping @Sendable (_ check: () throws -> Void) throws -> Value
) async throws -> Value {
  let canceled = Flag()
  return try await withTaskCancellationHandler {
    try await onThread {
      let found = try oneAtATime.take(unless: { canceled.isSet }) {
        try body { if canceled.isSet { throw CancellationError() } }
      }
      guard let found else { throw CancellationError() }
      return found
    }
  } onCancel: {
    canceled.set()
    oneAtATime.lookAgain()
  }
}

/// Works on a thread of its own: Swift's few threads are not for what takes long.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    let thread = Thread { continuation.resume(with: Result(catching: body)) }
    thread.stackSize = 8 << 20
    thread.start()
  }
}

/// Drains what Apple's frameworks hand out in `body`: a thread of ours does that at its end, and a run's is far away.
func drained<Value>(_ body: () throws -> Value) rethrows -> Value {
  #if canImport(ObjectiveC)
    return try autoreleasepool(invoking: body)
  #else
    return try body()
  #endif
}

/// What is set once, by any thread.
final class Flag: @unchecked Sendable {
  private let lock = NSLock()
  private var value = false

  var isSet: Bool { lock.withLock { value } }
  func set() { lock.withLock { value = true } }
}
