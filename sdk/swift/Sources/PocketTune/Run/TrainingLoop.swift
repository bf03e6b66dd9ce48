import Foundation

/// What every training run does: begins under its conditions, goes through its steps, saves, and looks at the result.
/// It lives on the run's thread.
final class TrainingLoop {
  let name: String
  let folder: String
  let checkpoints: Checkpoints
  let state: TrainingState
  let total: Int
  private let checkpointEvery: Int
  private let control: RunControl
  private let clock: any RunClock
  private let emit: (RunEvent) -> Void
  private(set) var losses: [Float]
  private(set) var step = 0
  private(set) var resumedFrom: Int?
  private(set) var seconds: [Double] = []
  private var saved = 0
  private let goOn: Needs
  private let memory = MemorySampler()

  init(
    name: String, folder: String, checkpoints: Checkpoints, state: TrainingState, total: Int, checkpointEvery: Int,
    control: RunControl, clock: any RunClock, emit: @escaping (RunEvent) -> Void
  ) throws {
    self.name = name
    self.folder = folder
    self.checkpoints = checkpoints
    self.state = state
    self.total = total
    self.checkpointEvery = checkpointEvery
    self.control = control
    self.clock = clock
    self.emit = emit
    losses = [Float](repeating: 0, count: total)
    goOn = Needs(memoryBytes: 0, storageBytes: Int64(checkpointBytes(state, total)))
    step = try checkpoints.load(state, &losses) { emit(.damaged(file: $0)) }
    saved = step
    if step > 0 {
      resumedFrom = step
      emit(.resumed(step: step))
    }
  }

  deinit { memory.stop() }

  /// Throws `Halt` when nothing more may run.
  func check() throws { try control.check(goOn) }

  /// Trains up to the last step; `item` says what a step is about, and prepares its batch. Throws `Halt`,
  /// `lossNotFinite`.
  func run(_ executor: Executor, _ item: (Int) -> Item) throws {
    while step < total {
      do {
        try check()
      } catch let halt as Halt {
        try save()
        throw halt
      }
      let begin = clock.seconds()
      try executor.run(item(step))
      let loss = try executor.loss()
      seconds.append(clock.seconds() - begin)
      guard loss.isFinite else {
        throw PocketTuneError(
          .lossNotFinite, "the loss of step \(step + 1) is not finite: use a smaller learning rate and another name")
      }
      losses[step] = loss
      step += 1
      emit(.stepped(step: step, total: total, loss: loss, seconds: seconds.last!))
      if step % checkpointEvery == 0 || step == total { try save() }
    }
  }

  private func save() throws {
    guard step > saved else { return }
    try checkpoints.save(state, losses, step)
    saved = step
    emit(.checkpointed(step: step))
  }

  /// Keeps what is accepted by `keep`, and then writes `result.json`, which says so. `facts` are the members of this kind
  /// of run.
  func finish(
    change: Double, before: Double, after: Double, changeName: Name, _ facts: [Name: JSON], keep: () throws -> Void
  ) throws -> RunResult {
    let result = RunResult(
      steps: total, losses: losses, lossFirst: mean(losses.prefix(20)), lossLast: mean(losses.suffix(20)),
      change: change, evaluationBefore: before, evaluationAfter: after, accepted: after <= before,
      resumedFrom: resumedFrom, secondsPerStep: median(seconds), peakResidentBytes: ProcessMemory.peakResident())
    if result.accepted { try keep() }
    var members = facts
    members[changeName] = .double(change)
    members["accepted"] = .boolean(result.accepted)
    members["evaluation_before"] = .double(before)
    members["evaluation_after"] = .double(after)
    members["loss_first"] = .double(result.lossFirst)
    members["loss_last"] = .double(result.lossLast)
    members["losses"] = .array(losses.map(JSON.float))
    members["peak_pss_bytes"] = .integer(Int64(memory.peakBytes))
    members["peak_rss_bytes"] = .integer(Int64(result.peakResidentBytes))
    members["resumed_from"] = resumedFrom.map { .integer(Int64($0)) } ?? .null
    members["seconds_per_step"] = .double(result.secondsPerStep)
    members["steps"] = .integer(Int64(total))
    let sorted = members.sorted { $0.key < $1.key }.map { JSON.Member(name: $0.key, value: $0.value) }
    try writeFile("\(folder)/result.json", Data((JSON.object(sorted).line + "\n").utf8))
    return result
  }
}

/// Bytes of a state file, but for its header.
func checkpointBytes(_ state: TrainingState, _ steps: Int) -> Int {
  state.views().reduce(4 * steps) { $0 + $1.bytes.count }
}

/// Removes what a killed run left half-written in folders that are ours alone.
func removeTemporaryFiles(_ folders: [String]) throws {
  for folder in folders {
    for name in try namesIn(folder) where name.hasSuffix(temporaryEnding) { try removeFile("\(folder)/\(name)") }
  }
}
