import DemoModel
import PocketTune
import SwiftUI
import os

/// Goes on with the subject while the phone is charging and nobody uses it.
enum Night {
  /// As in `BGTaskSchedulerPermittedIdentifiers` of project.yml.
  private static let task = "org.pockettune.demo.night"

  private static var file: URL { URL.applicationSupportDirectory.appending(path: "subject.plist") }

  /// Once, before the app has finished launching.
  @MainActor
  static func register(_ demo: Demo) throws {
    let (store, sensors, engine) = (demo.store, demo.sensors, demo.engine)
    try PersonalizationTask.register(task, store: store, sensors: sensors) {
      guard let subject = try ChosenSubject(file: file) else {
        throw PocketTuneError(.photosTooFew, "no photos were chosen: choose some, and let them be learned at night")
      }
      let bundle = try Demo.bundle("pictures")
      let side = max(bundle.pictureSize?.height ?? 0, bundle.pictureSize?.width ?? 0)
      let photos = try subject.photos.map { try RGBImage(photo: $0, side: side) }
      let personalizer = try Personalizer(bundle: bundle, store: store, engine: engine, sensors: sensors)
      return personalizer.personalize(PersonalizePage.name, photos, prompt: subject.prompt)
    } onFailure: { error in
      Logger(subsystem: "org.pockettune.demo", category: "night").error("\(String(describing: error))")
    }
  }

  /// Lets the run of that subject go on when the phone has time.
  static func goOn(with subject: ChosenSubject) throws {
    try subject.save(to: file)
    try PersonalizationTask.schedule(task)
  }

  static func forget() throws { try ChosenSubject.forget(file) }
}
