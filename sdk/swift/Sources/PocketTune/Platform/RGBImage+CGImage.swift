#if canImport(CoreGraphics)
  import CoreGraphics
  import Foundation
  import ImageIO

  // Never compiled here: this repository's machines have no Apple system. It is parsed, and that is all.
  extension RGBImage {
    /// A photo that the user picked, as its file's bytes, turned upright. A large one is made smaller while it is decoded:
    /// 50 megapixels would take 200 MB. `side` is the shorter side that is needed, in pixels; the photo's stays at least
    /// twice that, where it was. Throws `photosUnreadable` when it is no photo.
    public init(photo: Data, side: Int) throws {
      guard let source = CGImageSourceCreateWithData(photo as CFData, nil),
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let width = properties[kCGImagePropertyPixelWidth] as? Int, width > 0,
        let height = properties[kCGImagePropertyPixelHeight] as? Int, height > 0
      else { throw PocketTuneError(.photosUnreadable, "a photo cannot be read: choose another") }
      let scale = min(1, Double(2 * max(1, side)) / Double(min(width, height)))
      let options: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true,
        kCGImageSourceCreateThumbnailWithTransform: true,
        kCGImageSourceThumbnailMaxPixelSize: Int((Double(max(width, height)) * scale).rounded(.up)),
      ]
      guard let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary) else {
        throw PocketTuneError(.photosUnreadable, "a photo of \(width) x \(height) cannot be decoded: choose another")
      }
      try self.init(image)
    }

    /// An image as sRGB on white, in the orientation of its pixels: photos of files come by `init(photo:side:)`. Throws
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
