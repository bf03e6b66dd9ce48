/// An image of 8 bits a color, row by row.
public struct RGBImage: Sendable, Equatable {
  /// In pixels.
  public let width: Int
  /// In pixels.
  public let height: Int
  /// `[height, width, 3]`, sRGB.
  public let bytes: [UInt8]

  /// Throws `photosUnreadable` unless there are three bytes for each of at least one pixel.
  public init(width: Int, height: Int, bytes: [UInt8]) throws {
    guard width > 0, height > 0, elementCount([height, width, 3]) == bytes.count else {
      throw PocketTuneError(
        .photosUnreadable, "\(bytes.count) bytes are no image of \(width) x \(height): give three for each pixel")
    }
    self.width = width
    self.height = height
    self.bytes = bytes
  }
}

/// A photo as a model sees it: float32 `[3, height, width]` in [-1, 1].
public struct Pixels: Sendable, Equatable {
  /// In pixels.
  public let height: Int
  /// In pixels.
  public let width: Int
  /// `[3, height, width]`, row-major, in [-1, 1].
  public let values: [Float]

  /// Checked when it is used: `tensorMismatch` for another size than the bundle's, or values outside of [-1, 1].
  public init(height: Int, width: Int, values: [Float]) {
    self.height = height
    self.width = width
    self.values = values
  }

  /// The centered square of an image, scaled by area averaging: a pixel is the mean of what it covers.
  public init(_ image: RGBImage, height: Int, width: Int) {
    self.height = height
    self.width = width
    let side = min(image.width, image.height)
    let rows = Pixels.coverage(side, height, from: (image.height - side) / 2)
    let columns = Pixels.coverage(side, width, from: (image.width - side) / 2)
    var values = [Float](repeating: 0, count: 3 * height * width)
    for (y, row) in rows.enumerated() {
      for (x, column) in columns.enumerated() {
        for channel in 0..<3 {
          var sum = 0.0
          for (sourceY, weightY) in row {
            for (sourceX, weightX) in column {
              sum += weightY * weightX * Double(image.bytes[3 * (sourceY * image.width + sourceX) + channel])
            }
          }
          values[(channel * height + y) * width + x] = min(max(Float(sum) / 127.5 - 1, -1), 1)
        }
      }
    }
    self.values = values
  }

  /// For each of `count` pixels the source pixels under it, and their shares, which sum to 1.
  private static func coverage(_ side: Int, _ count: Int, from first: Int) -> [[(Int, Double)]] {
    let scale = Double(side) / Double(count)
    return (0..<count).map { index in
      let (begin, end) = (Double(index) * scale, Double(index + 1) * scale)
      let last = min(side - 1, max(Int(begin), Int(end.rounded(.up)) - 1))
      return (Int(begin)...last).map { source in
        let covered = min(end, Double(source + 1)) - max(begin, Double(source))
        return (first + source, max(0, covered) / scale)
      }
    }
  }

  /// Throws `tensorMismatch` for another size, or values outside of [-1, 1].
  func check(_ size: ImageSize) throws {
    guard height == size.height, width == size.width, values.count == elementCount([3, height, width]),
      values.allSatisfy({ (-1...1).contains($0) })
    else {
      throw PocketTuneError(
        .tensorMismatch, "a photo is not [3,\(size.height),\(size.width)] within [-1, 1], which the bundle takes")
    }
  }
}

extension RGBImage {
  /// A picture from a model's float32 `[1, 3, height, width]`: round_half_up((x + 1) * 127.5), clamped.
  init(_ values: UnsafeMutableBufferPointer<Float>, _ size: ImageSize) throws {
    guard values.count == elementCount([3, size.height, size.width]) else {
      throw PocketTuneError(.bundleManifestInvalid, "the picture's size is not the manifest's: export the bundle again")
    }
    let plane = size.height * size.width
    var bytes = [UInt8](repeating: 0, count: 3 * plane)
    for pixel in 0..<plane {
      for channel in 0..<3 {
        let scaled = ((Double(values[channel * plane + pixel]) + 1) * 127.5 + 0.5).rounded(.down)
        // So that what is no number becomes 0 as well.
        bytes[3 * pixel + channel] = scaled > 0 ? UInt8(min(scaled, 255)) : 0
      }
    }
    try self.init(width: size.width, height: size.height, bytes: bytes)
  }
}
