/// A public key of ECDSA P-256 with SHA-256 (FIPS 186-5), which says whether a signature is one of its own.
public protocol SignatureVerifier: Sendable {
  /// `signature` is 64 bytes: r and s, each 32 bytes big-endian.
  func isValid(signature: [UInt8], of message: [UInt8]) -> Bool
}

#if canImport(CryptoKit)
  import CryptoKit
  import Foundation

  /// A key of the system's own cryptography.
  public struct P256Key: SignatureVerifier {
    private let x963: Data

    /// 65 bytes: 4, x, y (SEC 1, uncompressed). Throws `configInvalid` for anything else.
    public init(x963: [UInt8]) throws {
      guard let key = try? P256.Signing.PublicKey(x963Representation: x963) else {
        throw PocketTuneError(.configInvalid, "the key is no P-256 point: give the 65 bytes of an uncompressed one")
      }
      self.x963 = key.x963Representation
    }

    public func isValid(signature: [UInt8], of message: [UInt8]) -> Bool {
      guard let key = try? P256.Signing.PublicKey(x963Representation: x963),
        let signature = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
      else { return false }
      return key.isValidSignature(signature, for: message)
    }
  }
#endif

extension Manifest {
  /// Throws `bundleSignatureInvalid` unless the bundle is signed by that key.
  func checkSignature(_ bytes: [UInt8], _ key: any SignatureVerifier) throws {
    guard let signature, key.isValid(signature: signature, of: [UInt8(ascii: "{")] + bytes[restBegin...]) else {
      throw PocketTuneError(
        .bundleSignatureInvalid, "the bundle is not signed by the key that the app trusts: fetch it from its source")
    }
  }

  /// Where the canonical manifest goes on behind its first brace.
  private var restBegin: Int { "{\"bundle_id\":\"\",\"signature\":\"\",".utf8.count + 64 + (signature == nil ? 0 : 88) }
}
