import Foundation

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

// A delegate's method is called only when its type is exactly the protocol's.
#if canImport(Darwin)
  typealias Decide = @Sendable (URLSession.ResponseDisposition) -> Void
#else
  typealias Decide = (URLSession.ResponseDisposition) -> Void
#endif

/// One GET whose body is taken piece by piece, so that a long one is cut off where it becomes too long.
final class Transfer: NSObject, URLSessionDataDelegate, @unchecked Sendable {
  private let accept: (HTTPURLResponse) throws -> Void
  private let take: (Data) throws -> Void
  private var failure: (any Error)?  // of the delegate's queue
  private let lock = NSLock()
  private var waiting: CheckedContinuation<Void, any Error>?
  private var end: Result<Void, any Error>?

  private init(accept: @escaping (HTTPURLResponse) throws -> Void, take: @escaping (Data) throws -> Void) {
    self.accept = accept
    self.take = take
  }

  /// `accept` looks at the answer's head, `take` at its pieces, in order, on one thread; what they throw ends the
  /// transfer. Throws `downloadFailed` when the connection fails, and `CancellationError`.
  static func get(
    _ url: URL, from offset: Int = 0, _ configuration: URLSessionConfiguration,
    accept: @escaping (HTTPURLResponse) throws -> Void, take: @escaping (Data) throws -> Void
  ) async throws {
    try Task.checkCancellation()
    let transfer = Transfer(accept: accept, take: take)
    let session = URLSession(configuration: configuration, delegate: transfer, delegateQueue: nil)
    defer { session.finishTasksAndInvalidate() }
    var request = URLRequest(url: url)
    // A file's bytes are counted and hashed: nobody on the way may pack them.
    request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
    if offset > 0 { request.setValue("bytes=\(offset)-", forHTTPHeaderField: "Range") }
    let task = session.dataTask(with: request)
    try await withTaskCancellationHandler {
      task.resume()
      try await transfer.waitForEnd()
    } onCancel: {
      task.cancel()
    }
  }

  /// A canceled task may end before anybody waits for it.
  private func waitForEnd() async throws {
    try await withCheckedThrowingContinuation { continuation in
      let end = lock.withLock {
        if self.end == nil { waiting = continuation }
        return self.end
      }
      if let end { continuation.resume(with: end) }
    }
  }

  func urlSession(
    _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
    completionHandler: @escaping Decide
  ) {
    do {
      guard let response = response as? HTTPURLResponse else { throw downloadFailed("the answer is not HTTP") }
      try accept(response)
      completionHandler(.allow)
    } catch {
      failure = error
      completionHandler(.cancel)
    }
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    guard failure == nil else { return }
    do {
      try take(data)
    } catch {
      failure = error
      dataTask.cancel()
    }
  }

  func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
    let end: Result<Void, any Error>
    if let failure {
      end = .failure(failure)
    } else if let error {
      let canceled = (error as? URLError)?.code == .cancelled
      end = .failure(
        canceled ? CancellationError() : downloadFailed("the connection failed: \(error.localizedDescription)"))
    } else {
      end = .success(())
    }
    let waiting = lock.withLock {
      self.end = end
      return self.waiting
    }
    waiting?.resume(with: end)
  }
}

func downloadFailed(_ why: String) -> PocketTuneError {
  PocketTuneError(.downloadFailed, "\(why): look at the address and the connection, and download again")
}
