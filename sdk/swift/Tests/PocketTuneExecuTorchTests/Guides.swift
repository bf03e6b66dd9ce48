import Foundation
import PocketTune
import PocketTuneExecuTorch
import Testing

// The code of docs/guides: compiled here, so that it cannot fall behind.

// guide: personalize
/// Learns what `photos` show and draws it; nil: the phone has better things to do now, ask again later.
func personalize(
  _ photos: [RGBImage], bundleFolder: URL, storeFolder: URL, sensors: any Sensors, show: (String) -> Void
) async throws -> RGBImage? {
  let bundle = try ModelBundle.open(bundleFolder)
  let store = try Store(root: storeFolder)
  let personalizer = try Personalizer(bundle: bundle, store: store, engine: ExecuTorchEngine(), sensors: sensors)
  var kept = false
  for try await event in personalizer.personalize("rex", photos, prompt: "a sks dog") {
    switch event {
    case .stepped(let step, let total, let loss, _): show("step \(step) of \(total), loss \(loss)")
    case .stopped(_, let failing): show("waits for \(failing.map(\.condition.rawValue))")
    case .finished(let result): kept = result.accepted
    default: break
    }
  }
  guard kept else { return nil }
  return try await personalizer.generate("a sks dog on the moon", adapter: store.adapter("rex"), seed: 1)
}
// end guide

// guide: preflight
/// What to tell the person before anything starts.
func mayStart(_ personalizer: Personalizer, photos: Int) throws -> String {
  switch try personalizer.preflight(photos: photos) {
  case .go(let peakBytes, let seconds):
    return "takes \(peakBytes >> 20) MiB" + (seconds.map { " and \(Int($0)) s" } ?? "")
  case .blocked(let failing):
    return "not now: " + failing.map { "\($0.condition.rawValue) is \($0.reason.rawValue)" }.joined(separator: ", ")
  }
}
// end guide

// guide: watched
/// A run that its user asked for and watches: no charger, no idleness; heat, battery, storage and memory count.
func watched(
  _ bundle: ModelBundle, _ engine: any Engine, _ store: Store, _ sensors: any Sensors
) throws -> Personalizer {
  var start = Conditions.start
  var proceed = Conditions.proceed
  (start.charging, start.idle) = (false, false)
  (proceed.charging, proceed.idle) = (false, false)
  return try Personalizer(
    bundle: bundle, store: store, engine: engine, sensors: sensors, start: start, proceed: proceed)
}
// end guide

// guide: test
/// In a test the sensors say what the test wants: here, a phone that becomes too warm.
func becomesTooWarm() -> [String] {
  var now = DeviceState(charging: true, batteryPercent: 80, thermal: .light, idle: true, powerSave: false)
  (now.freeStorageBytes, now.availableMemoryBytes) = (8 << 30, 4 << 30)
  let needs = Needs(memoryBytes: 600 << 20, storageBytes: 50 << 20)
  let before = Conditions.start.failing(now, needs)
  now.thermal = .moderate
  return (before + Conditions.proceed.failing(now, needs)).map(\.condition.rawValue)
}
// end guide

// guide: download
/// The bundle from your server, signed by you; nil: there was no Wi-Fi, what came so far is kept.
func fetch(
  _ address: URL, into store: Store, key: any SignatureVerifier, sensors: any Sensors
) async throws -> ModelBundle? {
  let downloader = BundleDownloader(store: store, base: address, key: key, sensors: sensors)
  guard case .finished(let bundle) = try await downloader.download() else { return nil }
  return bundle
}
// end guide

// guide: learn
/// Learns the user's gestures; a run that is worse on the examples held back is thrown away. nil: it goes on later,
/// with the same examples.
func learnGestures(_ trainer: Trainer, _ recorded: Examples, heldBack: Examples) async throws -> Bool? {
  for try await event in trainer.train("gestures", recorded, validation: heldBack) {
    guard case .finished(let result) = event else { continue }
    // What was learned is kept; the next run begins anew, with what was recorded since.
    try await trainer.discard("gestures")
    return result.accepted
  }
  return nil
}
// end guide

// guide: forget
/// Everything that was learned from the user, gone; the bundles stay.
func forget(_ store: Store) async throws -> String {
  let gone = try await store.deletePersonalData()
  return "\(gone.files) files, \(gone.bytes) bytes"
}
// end guide

@Suite struct GuidesTests {
  @Test func aPhoneThatBecomesTooWarmStops() {
    #expect(becomesTooWarm() == ["thermal"])
  }
}
