import PocketTune
import PocketTuneExecuTorch
import SwiftUI

// Never compiled here: this repository's machines have no Apple system. It is parsed, and that is all. What the
// pages show and decide is in ../Model, which is compiled and tested.

@main
struct DemoApp: App {
  @State private var demo = Result { try Demo() }

  var body: some Scene {
    WindowGroup {
      switch demo {
      case .success(let demo):
        TabView {
          PersonalizePage(demo: demo).tabItem { Label("Subject", systemImage: "photo.on.rectangle") }
          GesturePage(demo: demo).tabItem { Label("Gestures", systemImage: "hand.wave") }
          MemoryPage(demo: demo).tabItem { Label("Memory", systemImage: "memorychip") }
        }
      case .failure(let error):
        ContentUnavailableView(
          "The demo cannot start", systemImage: "exclamationmark.triangle", description: Text(String(describing: error))
        )
      }
    }
  }
}

/// What all pages share: the store, the sensors, and the bundles that the app ships in its folders `pictures` and `gestures`.
@MainActor
final class Demo {
  let store: Store
  let sensors: PhoneSensors
  /// The version is that of the package in project.yml: a bundle for another one is refused in words.
  let engine = ExecuTorchEngine(version: "1.5.1")

  init() throws {
    let folder = URL.applicationSupportDirectory.appending(path: "pockettune")
    store = try Store(root: folder, quotaBytes: 512 << 20)
    sensors = PhoneSensors(folder: folder)
    try Night.register(self)
  }

  /// A bundle of the app's resources. It reads and checks every file of it: never call it on the main thread.
  nonisolated static func bundle(_ name: String) throws -> ModelBundle {
    guard let folder = Bundle.main.resourceURL?.appending(path: name) else {
      throw PocketTuneError(.bundleNotFound, "the app has no resources: build it with a bundle in Resources/\(name)")
    }
    return try ModelBundle.open(folder)
  }

  /// The person asked for the run and looks at it: neither a charger nor idleness is asked for.
  nonisolated static let watchedStart = Conditions(charging: false, idle: false)
  nonisolated static let watchedProceed = Conditions(
    charging: false, minimumBatteryPercent: 20, idle: false, memoryReserveBytes: 32 << 20)
}
