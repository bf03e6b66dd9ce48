import DemoModel
import Foundation
import PocketTune
import Testing

@Suite struct RunProgressTests {
  @Test func aRunFromStartToEnd() {
    var progress = RunProgress()
    #expect(progress.line == "Nothing runs.")
    progress.take(.prepared(program: "encode_image", done: 1, total: 4))
    #expect(progress.line == "Looking at your photos: 25 %")
    for step in 1...50 { progress.take(.stepped(step: step, total: 200, loss: Float(200 - step), seconds: 0.5)) }
    #expect(progress.fraction == 0.25)
    #expect(progress.losses.count == 50)
    #expect(progress.line == "Learning: 25 %, 1 min left")
    progress.take(
      .stopped(step: 50, failing: [FailingCondition(.charging, .unmet), FailingCondition(.thermal, .unknown)]))
    #expect(
      progress.line
        == "Waiting, and nothing is lost: connect the charger; the phone's temperature is not known.")
    progress.take(.resumed(step: 50))
    progress.take(.stepped(step: 51, total: 200, loss: 1, seconds: 0.5))
    #expect(progress.phase == .training)
  }

  @Test func theEstimateFollowsTheLastSteps() {
    var progress = RunProgress()
    progress.take(.stepped(step: 1, total: 100, loss: 1, seconds: 100))
    for step in 2...11 { progress.take(.stepped(step: step, total: 100, loss: 1, seconds: 1)) }
    #expect(progress.secondsLeft == 89)
  }

  @Test func aRunThatThePersonStoppedWaits() {
    var progress = RunProgress()
    progress.take(.stepped(step: 1, total: 4, loss: 1, seconds: 1))
    progress.cancel()
    #expect(progress.line == "Paused. What was learned so far is kept." && progress.secondsLeft == nil)
    progress.sleep()
    #expect(progress.line == "Waiting, and nothing is lost: connect the charger; put the phone down.")
  }

  @Test func anErrorIsSaidInItsOwnWords() {
    var progress = RunProgress()
    progress.fail(PocketTuneError(.diskFull, "the disk is full: free some space"))
    #expect(progress.line == "It failed: the disk is full: free some space")
  }

  @Test(arguments: [
    (0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (3900, "1 h 5 min"), (-1, "0 s"),
    (.infinity, "277777 h 47 min"),
  ])
  func durations(seconds: Double, text: String) { #expect(duration(seconds) == text) }

  @Test func everyConditionHasItsWords() {
    let words = FailingCondition.Condition.allCases.flatMap {
      [inWords(FailingCondition($0, .unmet)), inWords(FailingCondition($0, .unknown))]
    }
    #expect(Set(words).count == words.count)
  }
}

@Suite struct ChosenSubjectTests {
  @Test func isKeptForTheNightAndForgotten() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("subject-\(UUID().uuidString)")
    #expect(try ChosenSubject(file: file) == nil)
    let subject = ChosenSubject(photos: [Data([1, 2]), Data()], prompt: "a sks dog")
    try subject.save(to: file)
    #expect(try ChosenSubject(file: file) == subject)
    try ChosenSubject.forget(file)
    #expect(try ChosenSubject(file: file) == nil)
    try ChosenSubject.forget(file)
  }
}

@Suite struct GestureRecorderTests {
  @Test func windowsOverlapByHalf() throws {
    var recorder = try #require(GestureRecorder(inputShape: [2, 4]))
    for number in 0..<8 { recorder.record([Float(number), Float(-number)], label: 3) }
    #expect(recorder.labels == [3, 3, 3])
    #expect(recorder.inputs.prefix(8) == [0, 1, 2, 3, 0, -1, -2, -3])
    #expect(recorder.inputs.dropFirst(8).prefix(4) == [2, 3, 4, 5])
  }

  @Test func aWindowNeverSpansTwoGestures() throws {
    var recorder = try #require(GestureRecorder(inputShape: [1, 3]))
    recorder.record([1], label: 0)
    recorder.record([1], label: 0)
    recorder.interrupt()
    for _ in 0..<3 { recorder.record([2], label: 1) }
    #expect(recorder.inputs == [2, 2, 2])
    #expect(recorder.labels == [1])
  }

  @Test func whatIsNoSampleIsLeftOut() throws {
    var recorder = try #require(GestureRecorder(inputShape: [1, 1]))
    let taken = [recorder.record([.nan], label: 0), recorder.record([1, 2], label: 0), recorder.record([1], label: 0)]
    #expect(taken == [false, false, true])
    #expect(GestureRecorder(inputShape: [1, 28, 28]) == nil)
  }

  @Test func everySecondRecordingOfALabelIsHeldBackWhole() throws {
    var recorder = try #require(GestureRecorder(inputShape: [1, 1]))
    #expect(recorder.missing == "Record two gestures or more.")
    for (number, label) in [0, 1, 0, 1, 0].enumerated() {
      for _ in 0..<3 { recorder.record([Float(number)], label: label) }
      recorder.interrupt()
      if number == 1 { #expect(recorder.missing?.hasPrefix("Record gesture 1 once more") == true) }
      if number == 2 { #expect(recorder.missing?.hasPrefix("Record gesture 2 once more") == true) }
    }
    #expect(recorder.missing == nil)
    let (training, held) = recorder.split()
    #expect(held.inputs == [2, 2, 2, 3, 3, 3] && held.labels == [0, 0, 0, 1, 1, 1])
    #expect(training.inputs == [0, 0, 0, 1, 1, 1, 4, 4, 4])
  }

  @Test func theMostLikely() {
    #expect(mostLikely([0.1, 3, -2]) == 1)
    #expect(mostLikely([]) == nil)
  }
}
