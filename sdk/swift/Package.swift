// swift-tools-version:6.0
import Foundation
import PackageDescription

// On Linux the official ExecuTorch package does not exist: the target `ExecuTorch` here supplies the classes of the
// same names over the C ABI of sdk/engine, so that the sources that ship are the sources that the tests run.
#if os(Linux)
  // What an app declares to the App Store; SwiftPM for Linux would make a resource bundle of it.
  let privacy: (exclude: [String], resources: [Resource]) = (["PrivacyInfo.xcprivacy"], [])
  let stage = ProcessInfo.processInfo.environment["POCKETTUNE_ENGINE_STAGE"] ?? "/usr/local"
  let dependencies: [Package.Dependency] = []
  let executorch: [Target.Dependency] = ["ExecuTorch"]
  let hostProducts: [Product] = [.library(name: "KillAt", type: .dynamic, targets: ["CKillAt"])]
  let hosts: [Target] = [
    .systemLibrary(name: "CPocketTuneEngine"),
    .systemLibrary(name: "COpenSSL"),
    .target(
      name: "ExecuTorch", dependencies: ["CPocketTuneEngine"],
      linkerSettings: [.unsafeFlags(["-L\(stage)/lib", "-Xlinker", "-rpath", "-Xlinker", "\(stage)/lib"])]),
    .target(name: "PocketTuneOpenSSL", dependencies: ["PocketTune", "COpenSSL"]),
    .testTarget(
      name: "PocketTuneTests", dependencies: ["PocketTune", "PocketTuneCoreML", "PocketTuneOpenSSL"],
      exclude: ["to_chars.txt"]),
    // What the tests kill.
    .target(name: "CKillAt"),
    .executableTarget(name: "KillSubject", dependencies: ["PocketTune", "PocketTuneExecuTorch", "ExecuTorch"]),
    .testTarget(
      name: "PocketTuneExecuTorchTests", dependencies: ["PocketTune", "PocketTuneExecuTorch"]),
  ]
#else
  let privacy: (exclude: [String], resources: [Resource]) = ([], [.process("PrivacyInfo.xcprivacy")])
  // The branch of the release that makes the bundles. Never resolved here.
  let dependencies: [Package.Dependency] = [
    .package(url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-1.5.1")
  ]
  let executorch: [Target.Dependency] = [.product(name: "executorch", package: "executorch")]
  let hosts: [Target] = []
  let hostProducts: [Product] = []
#endif

let package = Package(
  name: "PocketTune",
  platforms: [.iOS(.v17), .macOS(.v14)],
  products: [
    .library(name: "PocketTune", targets: ["PocketTune"]),
    .library(name: "PocketTuneExecuTorch", targets: ["PocketTuneExecuTorch"]),
    .library(name: "PocketTuneCoreML", targets: ["PocketTuneCoreML"]),
  ] + hostProducts,
  dependencies: dependencies,
  targets: [
    .target(name: "PocketTune", exclude: privacy.exclude, resources: privacy.resources),
    .target(name: "PocketTuneExecuTorch", dependencies: ["PocketTune"] + executorch),
    .target(name: "PocketTuneCoreML", dependencies: ["PocketTune"]),
  ] + hosts,
  swiftLanguageModes: [.v6]
)
