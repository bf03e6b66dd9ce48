import Foundation

#if canImport(Glibc)
  import Glibc
#endif

/// Answers GETs on the loopback interface, each by a function of path and range; one connection is one request.
final class LoopbackServer: @unchecked Sendable {
  struct Request: Sendable {
    let path: String
    /// Of `Range: bytes=<from>-`.
    let from: Int?
  }

  struct Answer: Sendable {
    var status = 200
    var body = Data()
    /// Bytes after which the connection breaks off.
    var breaksAfter: Int?
    /// Seconds before the body's second half.
    var pause = 0.0
  }

  let base: URL
  private let listener: Int32
  private let lock = NSLock()
  private var seen: [Request] = []

  var requests: [Request] { lock.withLock { seen } }

  init(_ answer: @escaping @Sendable (Request) -> Answer) throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    self.listener = listener
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, length) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &length) == 0
      }
    }
    guard bound else { throw CocoaError(.fileWriteUnknown) }
    base = URL(string: "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))/app/bundle")!
    Thread.detachNewThread { [self] in
      while true {
        let connection = accept(listener, nil, nil)
        if connection < 0 { return }
        Thread.detachNewThread { self.serve(connection, answer) }
      }
    }
  }

  func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

  private func serve(_ connection: Int32, _ answer: (Request) -> Answer) {
    defer { close(connection) }
    var head = Data()
    while head.range(of: Data("\r\n\r\n".utf8)) == nil {
      var piece = [UInt8](repeating: 0, count: 4096)
      let got = recv(connection, &piece, piece.count, 0)
      if got <= 0 { return }
      head += piece[..<got]
    }
    let lines = String(decoding: head, as: UTF8.self).components(separatedBy: "\r\n")
    let range = lines.first { $0.lowercased().hasPrefix("range: bytes=") }
    let from = range.flatMap { Int($0.dropFirst("range: bytes=".count).dropLast()) }
    let request = Request(path: lines[0].components(separatedBy: " ")[1], from: from)
    lock.withLock { seen.append(request) }
    let reply = answer(request)
    let text = "HTTP/1.1 \(reply.status) x\r\nContent-Length: \(reply.body.count)\r\nConnection: close\r\n\r\n"
    let body = reply.body.prefix(reply.breaksAfter ?? reply.body.count)
    send(connection, Data(text.utf8))
    send(connection, body.prefix(body.count / 2))
    if reply.pause > 0 { Thread.sleep(forTimeInterval: reply.pause) }
    send(connection, body.dropFirst(body.count / 2))
  }

  private func send(_ connection: Int32, _ data: Data) {
    var rest = [UInt8](data)[...]
    while !rest.isEmpty {
      let put = rest.withUnsafeBytes { Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if put <= 0 { return }
      rest = rest.dropFirst(put)
    }
  }
}
