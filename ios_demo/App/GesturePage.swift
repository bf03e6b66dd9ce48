@preconcurrency import CoreMotion
import DemoModel
import PocketTune
import SwiftUI

/// Record a few seconds of each gesture, let the phone learn how you make them, and see how well it tells them apart.
struct GesturePage: View {
  let demo: Demo
  @State private var recorder: GestureRecorder?
  @State private var bundle: ModelBundle?
  @State private var gesture = 0
  @State private var recording = false
  @State private var progress = RunProgress()
  @State private var verdict = ""
  @State private var work: Task<Void, Never>?
  @State private var motion = CMMotionManager()

  private static let name = "gestures"
  private static let perSecond = 100.0

  var body: some View {
    NavigationStack {
      Form {
        Section("Record") {
          Picker("Gesture", selection: $gesture) {
            ForEach(0..<(bundle?.classes ?? 0), id: \.self) { Text("Gesture \($0 + 1)").tag($0) }
          }
          Button(recording ? "Stop" : "Record") { recording ? stop() : start() }
          Text("\(recorder?.labels.count ?? 0) examples")
          Text(recorder?.missing ?? "")
        }
        Section("Learn") {
          ProgressView(value: progress.fraction)
          Text(progress.line)
          if work == nil {
            Button("Learn my gestures") { work = Task { await learn() } }
              .disabled(recording || recorder.map { $0.missing != nil } ?? true)
          } else {
            Button("Stop") { work?.cancel() }
          }
          Text(verdict)
        }
      }
      .navigationTitle("Your gestures")
      .task { await open() }
      .onDisappear { if recording { stop() } }
    }
  }

  /// Once: what was recorded stays when the page is left and comes back.
  private func open() async {
    guard bundle == nil else { return }
    do {
      let opened = try await Task.detached { try Demo.bundle("gestures") }.value
      bundle = opened
      recorder = GestureRecorder(inputShape: opened.inputShape ?? [])
    } catch {
      progress.fail(error)
    }
  }

  private func start() {
    guard motion.isDeviceMotionAvailable else {
      verdict = "This device has no motion sensors."
      return
    }
    recording = true
    motion.deviceMotionUpdateInterval = 1 / Self.perSecond
    let label = gesture
    motion.startDeviceMotionUpdates(to: .main) { sample, _ in
      guard let sample else { return }
      let (force, turn) = (sample.userAcceleration, sample.rotationRate)
      let values = [force.x, force.y, force.z, turn.x, turn.y, turn.z].map(Float.init)
      MainActor.assumeIsolated { _ = recorder?.record(values, label: label) }
    }
  }

  private func stop() {
    motion.stopDeviceMotionUpdates()
    recording = false
    recorder?.interrupt()
  }

  private func learn() async {
    defer { work = nil }
    (progress, verdict) = (RunProgress(), "")
    guard let bundle, let (training, held) = recorder?.split() else { return }
    do {
      let trainer = try Trainer(
        bundle: bundle, store: demo.store, engine: demo.engine, sensors: demo.sensors, start: Demo.watchedStart,
        proceed: Demo.watchedProceed)
      // Every training begins anew, with all that was recorded.
      try await trainer.discard(Self.name)
      let before = try await trainer.evaluate(held)
      for try await event in trainer.train(Self.name, training, validation: held) { progress.take(event) }
      guard !Task.isCancelled else {
        progress.cancel()
        return
      }
      guard case .finished(accepted: true) = progress.phase else { return }
      let after = try await trainer.evaluate(held, parameters: demo.store.adapter(Self.name))
      verdict = "Right before: \(Int(100 * before.accuracy)) %, now: \(Int(100 * after.accuracy)) %"
    } catch is CancellationError {
      progress.cancel()
    } catch {
      progress.fail(error)
    }
  }
}
