import PocketTune
import SwiftUI
import os

/// What the bundles ask for, and what the app has and takes.
struct MemoryPage: View {
  let demo: Demo
  @State private var lines: [(name: String, value: String)] = []

  var body: some View {
    NavigationStack {
      List(lines, id: \.name) { line in LabeledContent(line.name, value: line.value) }
        .navigationTitle("Memory")
        .task { await measure() }
        .refreshable { await measure() }
    }
  }

  private func measure() async {
    var found = [
      (name: "The app may still take", value: megabytes(Int64(os_proc_available_memory()))),
      (name: "The app's footprint", value: footprint().map(megabytes) ?? "not known"),
    ]
    do {
      let bundle = try await Task.detached { try Demo.bundle("pictures") }.value
      let personalizer = try Personalizer(
        bundle: bundle, store: demo.store, engine: demo.engine, sensors: demo.sensors, start: Demo.watchedStart)
      switch try personalizer.preflight(photos: 4) {
      case .go(let peakBytes, let seconds):
        found.append((name: "Learning takes at its peak", value: megabytes(peakBytes)))
        found.append((name: "Learning takes", value: seconds.map { "\(Int($0)) s" } ?? "not measured"))
      case .blocked(let failing):
        found.append((name: "Learning cannot start", value: failing.map(\.condition.rawValue).joined(separator: ", ")))
      }
    } catch {
      found.append((name: "The bundle", value: (error as? PocketTuneError)?.message ?? String(describing: error)))
    }
    lines = found
  }

  private func megabytes(_ bytes: Int64) -> String {
    ByteCountFormatter.string(fromByteCount: bytes, countStyle: .memory)
  }

  /// What the system counts against the app (`phys_footprint`).
  private func footprint() -> Int64? {
    var info = task_vm_info_data_t()
    var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size)
    let result = withUnsafeMutablePointer(to: &info) { pointer in
      pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
        task_info(task_self_trap(), task_flavor_t(TASK_VM_INFO), $0, &count)
      }
    }
    return result == KERN_SUCCESS ? Int64(info.phys_footprint) : nil
  }
}
