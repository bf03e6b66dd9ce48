#if os(iOS)
  import BackgroundTasks
  import Foundation

  // Never compiled here: this repository's machines have no Apple system. It is parsed, and that is all.

  /// Runs training while the system has time for it: on the charger, when nobody uses the device.
  ///
  /// The app's property list must have the identifier in `BGTaskSchedulerPermittedIdentifiers`, and `processing` in
  /// `UIBackgroundModes`. The simulator runs no such tasks.
  ///
  ///     // In application(_:didFinishLaunchingWithOptions:), where it costs nothing:
  ///     try PersonalizationTask.register("app.example.learn", store: store, sensors: sensors) {
  ///       try Trainer(bundle: .open(folder), store: store, engine: ExecuTorchEngine(), sensors: sensors)
  ///         .train("gestures", recordings())
  ///     } onFailure: { log($0) }
  ///     // Once there is something to learn:
  ///     try PersonalizationTask.schedule("app.example.learn")
  public enum PersonalizationTask {
    /// Registers what to run; called once for an identifier, before the app has finished launching: the system ends an
    /// app that registers it again. A run that the system cuts off, or whose
    /// conditions fail, writes its state, and is scheduled again to go on.
    ///
    /// `run` is called anew each time, off the main thread, so that it may read bundles. `onFailure` hears of a run that
    /// failed; it is not tried again until it is scheduled again. Throws `configInvalid` for an identifier that the
    /// property list does not have.
    public static func register(
      _ identifier: String, store: Store, sensors: PhoneSensors,
      run: @escaping @Sendable () async throws -> RunEvents,
      onFailure: @escaping @Sendable (any Error) -> Void
    ) throws {
      let known = BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil) { @Sendable task in
        let lent = LentTask(task: task)
        let slice = BackgroundSlice(store: store)
        let work = Task {
          // The system runs such a task only while nobody uses the device.
          sensors.set(idle: true)
          let end = await slice.collect(run)
          sensors.set(idle: nil)
          var done = false
          do {
            switch end {
            case .over: done = true
            case .again: try schedule(identifier)
            case .failed(let error): onFailure(error)
            }
          } catch {
            onFailure(error)
          }
          lent.task.setTaskCompleted(success: done)
        }
        task.expirationHandler = {
          Task {
            await slice.withdraw()
            // For a run that has not begun.
            work.cancel()
          }
        }
      }
      guard known else {
        throw PocketTuneError(
          .configInvalid,
          "'\(identifier)' is not in BGTaskSchedulerPermittedIdentifiers of the app's property list: add it there")
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

  /// A task of the system's, of which those members are used that any thread may use.
  private struct LentTask: @unchecked Sendable {
    let task: BGTask
  }
#endif
