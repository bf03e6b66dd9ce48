/// A public key of ECDSA P-256 with SHA-256 (FIPS 186-5), which says whether a signature is one of its own.
public protocol SignatureVerifier: Sendable {
  /// `signature` is 64 bytes: r and s, 32 bytes each, big-endian.
  func isValid(signature: [UInt8], of message: [UInt8]) -> Bool
}

/// Throws `bundleSignatureInvalid` unless there is a signature, and the key made it.
func requireSignature(_ signature: [UInt8]?, of message: [UInt8], by key: any SignatureVerifier) throws {
  guard let signature, key.isValid(signature: signature, of: message) else {
    throw PocketTuneError(
      .bundleSignatureInvalid, "the bundle is not signed by the key that the app trusts: fetch it from its source")
  }
}

#if canImport(CryptoKit)
  import CryptoKit
  import Foundation

  /// A key of the system's own cryptography. *Never compiled here.*
  public struct P256Key: SignatureVerifier {
    private let der: Data

    /// A DER `SubjectPublicKeyInfo`: what stands between the lines of a PEM file, decoded. Throws `configInvalid`.
    public init(der: [UInt8]) throws {
      guard (try? P256.Signing.PublicKey(derRepresentation: der)) != nil else {
        throw PocketTuneError(.configInvalid, "the key is no public key on P-256: give its DER form")
      }
      self.der = Data(der)
    }

    public func isValid(signature: [UInt8], of message: [UInt8]) -> Bool {
      guard let key = try? P256.Signing.PublicKey(derRepresentation: der),
        let signature = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
      else { return false }
      return key.isValidSignature(signature, for: message)
    }
  }
#endif
