import COpenSSL
import PocketTune

/// A P-256 key by OpenSSL: what the tests verify with on Linux, where there is no CryptoKit.
public struct OpenSSLKey: SignatureVerifier {
  private let der: [UInt8]

  /// A DER `SubjectPublicKeyInfo`. Throws `configInvalid` for a key of another kind.
  public init(der: [UInt8]) throws {
    self.der = der
    guard let key = decoded() else {
      throw PocketTuneError(.configInvalid, "the key is no public key on P-256: give its DER form")
    }
    EVP_PKEY_free(key)
  }

  public func isValid(signature: [UInt8], of message: [UInt8]) -> Bool {
    guard signature.count == 64, let key = decoded(), let context = EVP_MD_CTX_new() else { return false }
    defer {
      EVP_MD_CTX_free(context)
      EVP_PKEY_free(key)
    }
    let wrapped = sequence(integer(signature[..<32]) + integer(signature[32...]))
    guard EVP_DigestVerifyInit(context, nil, EVP_sha256(), nil, key) == 1 else { return false }
    return EVP_DigestVerify(context, wrapped, wrapped.count, message, message.count) == 1
  }

  private func decoded() -> OpaquePointer? {
    der.withUnsafeBufferPointer { buffer in
      var at = buffer.baseAddress
      guard let key = d2i_PUBKEY(nil, &at, buffer.count) else { return nil }
      var name = [CChar](repeating: 0, count: 32)
      var length = 0
      let curve =
        EVP_PKEY_get_group_name(key, &name, name.count, &length) == 1
        ? String(decoding: name.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
      if curve == "prime256v1" || curve == "P-256" { return key }
      EVP_PKEY_free(key)
      return nil
    }
  }

  // OpenSSL takes a signature as DER: a sequence of two integers.
  private func integer(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var digits = Array(bytes.drop { $0 == 0 })
    if (digits.first ?? 0x80) >= 0x80 { digits.insert(0, at: 0) }
    return [0x02, UInt8(digits.count)] + digits
  }

  private func sequence(_ bytes: [UInt8]) -> [UInt8] { [0x30, UInt8(bytes.count)] + bytes }
}
