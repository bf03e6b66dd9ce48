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
  @State private var pictures: [(name: String, image: CGImage)] = []

  private static let name = "subject"

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
            Button("Pause") { work?.cancel() }
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
    do {
      let photos = try await loadPhotos()
      let bundle = try await Task.detached { try Demo.bundle("pictures") }.value
      let personalizer = try Personalizer(
        bundle: bundle, store: demo.store, engine: demo.engine, sensors: demo.sensors, start: Demo.watchedStart,
        proceed: Demo.watchedProceed)
      var accepted = false
      for try await event in personalizer.personalize(Self.name, photos, prompt: prompt) {
        progress.take(event)
        if case .finished(let result) = event { accepted = result.accepted }
      }
      guard accepted else { return }
      let after = try demo.store.adapter(Self.name)
      try await draw("before", personalizer, nil)
      try await draw("after", personalizer, after)
    } catch is CancellationError {
      return
    } catch {
      progress.fail(error)
    }
  }

  private func draw(_ name: String, _ personalizer: Personalizer, _ adapter: URL?) async throws {
    let picture = try await personalizer.generate(prompt, adapter: adapter, seed: 1)
    if let image = picture.cgImage { pictures.append((name, image)) }
  }

  private func loadPhotos() async throws -> [RGBImage] {
    var photos: [RGBImage] = []
    for item in picked {
      guard let data = try await item.loadTransferable(type: Data.self), let image = upright(data) else {
        throw PocketTuneError(.photosUnreadable, "a photo cannot be read: choose another")
      }
      photos.append(try RGBImage(image))
    }
    return photos
  }

  /// A photo drawn as its owner sees it: cameras store a turn instead of turning pixels.
  private func upright(_ data: Data) -> CGImage? {
    guard let image = UIImage(data: data) else { return nil }
    return UIGraphicsImageRenderer(size: image.size).image { _ in image.draw(at: .zero) }.cgImage
  }

  private func forget() async {
    work?.cancel()
    do {
      _ = try await demo.store.deletePersonalData()
      progress = RunProgress()
      pictures = []
    } catch {
      progress.fail(error)
    }
  }
}
