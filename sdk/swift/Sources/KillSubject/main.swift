// Trains a classification bundle to its end, or goes on with it; the tests kill it wherever they like.
//   KillSubject BUNDLE EXAMPLES PARAMETERS STORE STEPS CHECKPOINT_EVERY
import ExecuTorch
import Foundation
import PocketTune
import PocketTuneExecuTorch

struct Steady: Sensors {
  func read() -> DeviceState {
    DeviceState(
      charging: true, batteryPercent: 80, thermal: .nominal, idle: true, unmetered: true, powerSave: false,
      freeStorageBytes: 8 << 30, availableMemoryBytes: 4 << 30)
  }
}

let words = CommandLine.arguments
let bundle = try ModelBundle.open(URL(fileURLWithPath: words[1]))
let trainer = try Trainer(
  bundle: bundle, store: try Store(root: URL(fileURLWithPath: words[4])),
  engine: ExecuTorchEngine(version: runtimeVersion()), sensors: Steady())
var settings = TrainingSettings()
(settings.seed, settings.steps, settings.checkpointEvery) = (7, Int(words[5]), Int(words[6])!)
settings.parameters = URL(fileURLWithPath: words[3])
for try await event in trainer.train("watch", try Examples(file: URL(fileURLWithPath: words[2])), settings: settings) {
  if case .resumed(let step) = event { print("resumed \(step)") }
}
