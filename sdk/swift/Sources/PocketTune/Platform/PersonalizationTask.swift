#if os(iOS)
  import BackgroundTasks
  import Foundation

  // Never compiled here: this repository's machines have no Apple system. It is parsed, and that is all.

  /// Runs training while the system has time for it: on the charger, when nobody uses the device.
  ///
  ///     // In application(_:didFinishLaunchingWithOptions:), with the identifier in BGTaskSchedulerPermittedIdentifiers:
  ///     PersonalizationTask.register("app.example.learn", sensors: sensors) { trainer.train("gestures", examples) }
  ///     try PersonalizationTask.schedule("app.example.learn")
  public enum PersonalizationTask {
    /// Registers what to run. A run that the system cuts off writes its state, and the next task goes on with it;
    /// `run` is called anew each time.
    public static func register(
      _ identifier: String, sensors: PhoneSensors,
      run: @escaping @Sendable () -> AsyncThrowingStream<RunEvent, any Error>
    ) {
      BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil) { task in
        sensors.set(idle: true)
        let work = Task {
          var finished = false
          do {
            for try await event in run() {
              if case .finished = event { finished = true }
            }
          } catch {
            // What went wrong stays where the app can see it: the next run in the foreground throws it again.
          }
          sensors.set(idle: nil)
          if !finished { try? schedule(identifier) }
          task.setTaskCompleted(success: finished)
        }
        // Canceling the collector ends the run within one step, its state written.
        task.expirationHandler = { work.cancel() }
      }
    }

    /// Asks for time: external power, and no earlier than `after` from now. Throws what `BGTaskScheduler` throws.
    public static func schedule(_ identifier: String, after delay: TimeInterval = 0) throws {
      let request = BGProcessingTaskRequest(identifier: identifier)
      request.requiresExternalPower = true
      request.requiresNetworkConnectivity = false
      request.earliestBeginDate = delay > 0 ? Date(timeIntervalSinceNow: delay) : nil
      try BGTaskScheduler.shared.submit(request)
    }
  }
#endif
