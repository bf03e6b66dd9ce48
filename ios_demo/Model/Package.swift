// swift-tools-version:6.0
import PackageDescription

// What the demo shows and decides, without SwiftUI: compiled and tested on Linux too.
let package = Package(
  name: "DemoModel",
  platforms: [.iOS(.v17), .macOS(.v14)],
  products: [.library(name: "DemoModel", targets: ["DemoModel"])],
  dependencies: [.package(name: "PocketTune", path: "../../sdk/swift")],
  targets: [
    .target(name: "DemoModel", dependencies: [.product(name: "PocketTune", package: "PocketTune")]),
    .testTarget(name: "DemoModelTests", dependencies: ["DemoModel"]),
  ],
  swiftLanguageModes: [.v6]
)
