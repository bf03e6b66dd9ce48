import Foundation

/// The codes of `spec/errors.json`: the same ones in every language and tool of PocketTune.
public enum ErrorCode: String, CaseIterable, Sendable {
  /// A fault of PocketTune itself, to be reported.
  case bug
  /// The command line is wrong.
  case usage
  /// A file cannot be read or written.
  case ioFailed = "io_failed"
  /// The disk is full; nothing was lost and no half file bears a final name.
  case diskFull = "disk_full"
  /// Stopped by a signal; a later run goes on from the last state.
  case interrupted
  /// There is not enough memory; what was saved stays valid.
  case outOfMemory = "out_of_memory"
  /// The folder or its manifest.json does not exist.
  case bundleNotFound = "bundle_not_found"
  /// manifest.json breaks a rule of bundle.md.
  case bundleManifestInvalid = "bundle_manifest_invalid"
  /// The bundle's format number is not one that this version reads.
  case bundleFormatUnsupported = "bundle_format_unsupported"
  /// A byte of the bundle is not what the manifest says.
  case bundleCorrupt = "bundle_corrupt"
  /// A file name in the manifest is not allowed, or is a link.
  case bundlePathInvalid = "bundle_path_invalid"
  /// The bundle was made for another runtime version.
  case engineVersionMismatch = "engine_version_mismatch"
  /// The bundle is not signed, or not by the key that was asked for.
  case bundleSignatureInvalid = "bundle_signature_invalid"
  /// A safetensors file breaks a rule of bundle.md 7.
  case safetensorsInvalid = "safetensors_invalid"
  /// A tensor is missing, or has another shape or dtype than the manifest says.
  case tensorMismatch = "tensor_mismatch"
  /// A saved state belongs to another bundle, other inputs or other settings.
  case stateMismatch = "state_mismatch"
  /// The bundle has no program of that name.
  case programMissing = "program_missing"
  /// The runtime refused to load or run a program.
  case engineFailed = "engine_failed"
  /// The loss became NaN or infinite; the last good state is kept.
  case lossNotFinite = "loss_not_finite"
  /// Training ended without changing the adapter.
  case adapterUnchanged = "adapter_unchanged"
  /// A photo cannot be decoded, or the folder holds none.
  case photosUnreadable = "photos_unreadable"
  /// Too few photos.
  case photosTooFew = "photos_too_few"
  /// The prompt has more tokens than the text encoder takes.
  case promptTooLong = "prompt_too_long"
  /// No model folder or hub name of that kind.
  case modelNotFound = "model_not_found"
  /// The model lacks a component.
  case modelComponentMissing = "model_component_missing"
  /// The model has a block or setting that is not supported.
  case modelUnsupported = "model_unsupported"
  /// The model's weights hold NaN or infinity.
  case modelNotFinite = "model_not_finite"
  /// The hollow cut is not legal for this net.
  case cutIllegal = "cut_illegal"
  /// A setting is unknown or out of range.
  case configInvalid = "config_invalid"
  /// The final program differs from eager by more than the tolerance.
  case parityFailed = "parity_failed"
  /// A graph cannot be lowered.
  case loweringFailed = "lowering_failed"
  /// A tool that this command needs is not installed.
  case toolMissing = "tool_missing"
  /// An update breaks a rule of update.md.
  case updateInvalid = "update_invalid"
  /// An update belongs to another round or another bundle.
  case updateMismatch = "update_mismatch"
  /// No client of a round is left to learn from.
  case roundFailed = "round_failed"
  /// A data set is not on this machine.
  case dataNotFound = "data_not_found"
  /// A file of a data set is damaged.
  case dataInvalid = "data_invalid"
  /// A data set cannot be shared out as asked.
  case partitionImpossible = "partition_impossible"
  /// A bundle cannot be fetched: the connection, the server's answer or its bytes.
  case downloadFailed = "download_failed"
  /// What shall be kept does not fit the quota of the app.
  case quotaExceeded = "quota_exceeded"
}

/// Whatever goes wrong: a code to act on, and one sentence for people that says what to do.
///
/// The sentence names files and settings, never what is in a person's files.
public struct PocketTuneError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What went wrong.
  public let code: ErrorCode
  /// One sentence for people, in English.
  public let message: String

  /// An error of an app's own ``Engine``, ``Sensors`` or test.
  public init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { "\(code.rawValue): \(message)" }
}

extension PocketTuneError: LocalizedError {
  public var errorDescription: String? { message }
}

/// Throws `configInvalid` for a setting out of its range.
func require<Value: Comparable>(_ name: String, _ value: Value, _ range: ClosedRange<Value>) throws {
  guard range.contains(value) else {
    throw PocketTuneError(
      .configInvalid, "\(name) is \(value): it must be \(range.lowerBound) to \(range.upperBound)")
  }
}
