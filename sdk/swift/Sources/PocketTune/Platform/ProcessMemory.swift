import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// Memory of this process, as the system counts it.
enum ProcessMemory {
  /// The largest resident size so far, in bytes.
  static func peakResident() -> Int {
    var usage = rusage()
    #if canImport(Darwin)
      getrusage(RUSAGE_SELF, &usage)
      return usage.ru_maxrss
    #else
      getrusage(RUSAGE_SELF.rawValue, &usage)
      return usage.ru_maxrss * 1024
    #endif
  }

  /// Bytes that are this process's own now: the proportional set size of Linux, Apple's physical footprint; 0 when the
  /// system does not tell.
  static func own() -> Int {
    #if canImport(Darwin)
      var info = task_vm_info_data_t()
      var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size)
      let result = withUnsafeMutablePointer(to: &info) {
        $0.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
          task_info(task_self_trap(), task_flavor_t(TASK_VM_INFO), $0, &count)
        }
      }
      return result == KERN_SUCCESS ? Int(info.phys_footprint) : 0
    #else
      guard let text = try? String(contentsOfFile: "/proc/self/smaps_rollup", encoding: .utf8),
        let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Pss:") })
      else { return 0 }
      return (line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
    #endif
  }
}

/// Samples `ProcessMemory.own` while it lives: every 50 ms, or every 20 times as long as a sample takes.
final class MemorySampler: @unchecked Sendable {
  private let condition = NSCondition()
  private var stopped = false
  private var peak = 0

  init() {
    Thread.detachNewThread { [self] in
      let clock = SystemClock()
      condition.lock()
      while !stopped {
        let begin = clock.seconds()
        condition.unlock()
        let now = ProcessMemory.own()
        condition.lock()
        peak = max(peak, now)
        let pause = max(0.05, 20 * (clock.seconds() - begin))
        if !stopped { drained { _ = condition.wait(until: Date(timeIntervalSinceNow: pause)) } }
      }
      condition.unlock()
    }
  }

  func stop() {
    condition.withLock {
      stopped = true
      condition.signal()
    }
  }

  /// The largest so far.
  var peakBytes: Int {
    let now = ProcessMemory.own()
    return condition.withLock {
      peak = max(peak, now)
      return peak
    }
  }
}
