import Foundation

public enum P256 {
  public enum Signing {
    public struct PublicKey: Sendable {
      public init<Bytes>(derRepresentation: Bytes) throws where Bytes: RandomAccessCollection, Bytes.Element == UInt8 {}
      public init(pemRepresentation: String) throws {}
      public var derRepresentation: Data { fatalError() }
      public func isValidSignature<D>(_ signature: ECDSASignature, for data: D) -> Bool where D: DataProtocol {
        fatalError()
      }
    }

    public struct ECDSASignature: Sendable {
      public init<D>(rawRepresentation: D) throws where D: DataProtocol {}
    }
  }
}

public struct SHA256 {
  public init() {}
  public mutating func update(bufferPointer: UnsafeRawBufferPointer) {}
  public func finalize() -> SHA256Digest { fatalError() }
}

public struct SHA256Digest: Sequence {
  public func makeIterator() -> Array<UInt8>.Iterator { fatalError() }
}
