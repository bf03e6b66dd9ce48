import Foundation

#if canImport(CryptoKit)
  import CryptoKit

  /// SHA-256 of bytes that come in pieces.
  struct Digest256 {
    private var hash = CryptoKit.SHA256()

    mutating func update(_ bytes: UnsafeRawBufferPointer) { hash.update(bufferPointer: bytes) }
    /// 32 bytes; nothing may be added afterwards.
    func bytes() -> [UInt8] { Array(hash.finalize()) }
  }
#else
  /// SHA-256 (FIPS 180-4) of bytes that come in pieces, where the system brings none.
  struct Digest256 {
    private var state: [UInt32] = [
      0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var rest: [UInt8] = []
    private var length: UInt64 = 0

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
      length &+= UInt64(bytes.count)
      var at = 0
      if !rest.isEmpty {
        at = min(64 - rest.count, bytes.count)
        rest.append(contentsOf: bytes[0..<at])
        if rest.count < 64 { return }
        rest.withUnsafeBytes { Digest256.compress(&state, $0.baseAddress!, blocks: 1) }
        rest.removeAll(keepingCapacity: true)
      }
      let blocks = (bytes.count - at) / 64
      if blocks > 0 { Digest256.compress(&state, bytes.baseAddress! + at, blocks: blocks) }
      rest.append(contentsOf: bytes[(at + 64 * blocks)...])
    }

    /// 32 bytes; nothing may be added afterwards.
    func bytes() -> [UInt8] {
      var tail = rest + [0x80]
      tail.append(contentsOf: repeatElement(0, count: (120 - tail.count % 64) % 64))
      withUnsafeBytes(of: (length &* 8).bigEndian) { tail.append(contentsOf: $0) }
      var state = state
      tail.withUnsafeBytes { Digest256.compress(&state, $0.baseAddress!, blocks: tail.count / 64) }
      return state.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
    }

    private static func compress(_ state: inout [UInt32], _ bytes: UnsafeRawPointer, blocks: Int) {
      withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
        roundConstants.withUnsafeBufferPointer { k in
          for block in 0..<blocks {
            for i in 0..<16 {
              w[i] = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 64 * block + 4 * i, as: UInt32.self))
            }
            for i in 16..<64 {
              let s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3
              let s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10
              w[i] = w[i - 16] &+ s0 &+ w[i - 7] &+ s1
            }
            rounds(&state, w, k)
          }
        }
      }
    }

    @inline(__always)
    private static func rounds(
      _ state: inout [UInt32], _ w: UnsafeMutableBufferPointer<UInt32>, _ k: UnsafeBufferPointer<UInt32>
    ) {
      var (a, b, c, d) = (state[0], state[1], state[2], state[3])
      var (e, f, g, h) = (state[4], state[5], state[6], state[7])
      for i in 0..<64 {
        let s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
        let first = h &+ s1 &+ (e & f ^ ~e & g) &+ k[i] &+ w[i]
        let s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
        let second = s0 &+ (a & b ^ a & c ^ b & c)
        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
      }
      for (i, word) in [a, b, c, d, e, f, g, h].enumerated() { state[i] &+= word }
    }

    @inline(__always)
    private static func turn(_ x: UInt32, _ n: UInt32) -> UInt32 { x >> n | x << (32 - n) }

    private static let roundConstants: [UInt32] = [
      0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
      0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
      0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
      0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
      0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
      0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
      0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
      0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ]
  }
#endif

extension Digest256 {
  /// 64 lower-case hexadecimal digits.
  func hex() -> String {
    bytes().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  static func hex(of bytes: some ContiguousBytes) -> String {
    var digest = Digest256()
    bytes.withUnsafeBytes { digest.update($0) }
    return digest.hex()
  }
}
