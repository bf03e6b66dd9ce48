#if canImport(CoreGraphics)
  import CoreGraphics
  import Foundation

  // Never compiled here: this repository's machines have no Apple system. It is parsed, and that is all.
  extension RGBImage {
    /// An image as sRGB on white, in the orientation of its pixels; a `UIImage` must be drawn upright first. Throws
    /// `photosUnreadable` when it cannot be drawn.
    public init(_ image: CGImage) throws {
      let (width, height) = (image.width, image.height)
      var pixels = [UInt8](repeating: 255, count: 4 * width * height)
      let drawn = pixels.withUnsafeMutableBytes { bytes -> Bool in
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
          let context = CGContext(
            data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
            space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { return false }
        let whole = CGRect(x: 0, y: 0, width: width, height: height)
        context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)
        context.fill(whole)
        context.draw(image, in: whole)
        return true
      }
      guard drawn else {
        throw PocketTuneError(.photosUnreadable, "an image of \(width) x \(height) cannot be drawn: choose another")
      }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(3 * width * height)
      for pixel in stride(from: 0, to: pixels.count, by: 4) { bytes += pixels[pixel..<(pixel + 3)] }
      try self.init(width: width, height: height, bytes: bytes)
    }

    /// The picture to be shown; nil when the system has no memory for it.
    public var cgImage: CGImage? {
      var pixels: [UInt8] = []
      pixels.reserveCapacity(4 * width * height)
      for pixel in stride(from: 0, to: bytes.count, by: 3) { pixels += bytes[pixel..<(pixel + 3)] + [255] }
      guard let space = CGColorSpace(name: CGColorSpace.sRGB),
        let provider = CGDataProvider(data: Data(pixels) as CFData)
      else { return nil }
      return CGImage(
        width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: 4 * width, space: space,
        bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.noneSkipLast.rawValue), provider: provider, decode: nil,
        shouldInterpolate: true, intent: .defaultIntent)
    }
  }
#endif
