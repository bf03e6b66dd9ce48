import DemoModel
import PhotosUI
import PocketTune
import SwiftUI

/// Pick photos of one subject, let the phone learn it, and see pictures of before and after.
struct PersonalizePage: View {
  let demo: Demo
  @State private var picked: [PhotosPickerItem] = []
  @State private var prompt = "a sks dog"
  @State private var progress = RunProgress()
  @State private var work: Task<Void, Never>?
  @State private var personalizer: Personalizer?
  @State private var chosen: ChosenSubject?
  @State private var pictures: [(name: String, image: CGImage)] = []

  static let name = "subject"

  var body: some View {
    NavigationStack {
      Form {
        Section("What to learn") {
          PhotosPicker("Photos: \(picked.count)", selection: $picked, maxSelectionCount: 6, matching: .images)
          TextField("What they show", text: $prompt)
        }
        Section("Learning") {
          ProgressView(value: progress.fraction)
          Text(progress.line)
          if work == nil {
            Button("Learn") { work = Task { await learn() } }.disabled(picked.isEmpty)
          } else {
            Button("Pause") { Task { await pause() } }
          }
          if case .waiting = progress.phase, work == nil, let chosen {
            Button("Go on at night") { goOnAtNight(chosen) }
          }
        }
        if !pictures.isEmpty {
          Section("Before and after") {
            ForEach(pictures, id: \.name) { picture in
              Image(decorative: picture.image, scale: 1).resizable().scaledToFit()
              Text(picture.name)
            }
          }
        }
        Section {
          Button("Forget everything", role: .destructive) { Task { await forget() } }
        }
      }
      .navigationTitle("Your subject")
    }
  }

  private func learn() async {
    defer { work = nil }
    pictures = []
    progress = RunProgress()
    do {
      let bundle = try await Task.detached { try Demo.bundle("pictures") }.value
      let photos = try await loadPhotos(for: bundle)
      let personalizer = try Personalizer(
        bundle: bundle, store: demo.store, engine: demo.engine, sensors: demo.sensors, start: Demo.watchedStart,
        proceed: Demo.watchedProceed)
      self.personalizer = personalizer
      defer { self.personalizer = nil }
      do {
        try await follow(personalizer, photos)
      } catch let error as PocketTuneError where error.code == .stateMismatch {
        // A run is saved that began with other photos or another prompt.
        try await personalizer.discard(Self.name)
        try await follow(personalizer, photos)
      }
      guard case .finished(accepted: true) = progress.phase else { return }
      let after = try demo.store.adapter(Self.name)
      try await draw("before", personalizer, nil)
      try await draw("after", personalizer, after)
    } catch is CancellationError {
      return
    } catch {
      progress.fail(error)
    }
  }

  private func follow(_ personalizer: Personalizer, _ photos: [RGBImage]) async throws {
    for try await event in personalizer.personalize(Self.name, photos, prompt: prompt) { progress.take(event) }
  }

  private func draw(_ name: String, _ personalizer: Personalizer, _ adapter: URL?) async throws {
    let picture = try await personalizer.generate(prompt, adapter: adapter, seed: 1)
    if let image = picture.cgImage { pictures.append((name, image)) }
  }

  /// A run says itself that it was paused. Before it there is nothing to save, and after it the drawing can be left.
  private func pause() async {
    switch progress.phase {
    case .preparing, .training: await personalizer?.pause()
    case .idle, .waiting, .finished, .failed: work?.cancel()
    }
  }

  private func goOnAtNight(_ subject: ChosenSubject) {
    do {
      try Night.goOn(with: subject)
      progress.sleep()
    } catch {
      progress.fail(error)
    }
  }

  private func loadPhotos(for bundle: ModelBundle) async throws -> [RGBImage] {
    let side = max(bundle.pictureSize?.height ?? 0, bundle.pictureSize?.width ?? 0)
    var (files, photos): ([Data], [RGBImage]) = ([], [])
    for item in picked {
      guard let data = try await item.loadTransferable(type: Data.self) else {
        throw PocketTuneError(.photosUnreadable, "a photo cannot be read: choose another")
      }
      files.append(data)
      // Decoding is no work for the main thread.
      photos.append(try await Task.detached { try RGBImage(photo: data, side: side) }.value)
    }
    chosen = ChosenSubject(photos: files, prompt: prompt)
    return photos
  }

  private func forget() async {
    work?.cancel()
    await work?.value
    do {
      _ = try await demo.store.deletePersonalData()
      try Night.forget()
      (progress, pictures, picked, chosen) = (RunProgress(), [], [], nil)
    } catch {
      progress.fail(error)
    }
  }
}
