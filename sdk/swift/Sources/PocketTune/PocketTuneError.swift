import Foundation

/// The codes of `spec/errors.json`: the same ones in every language and tool of PocketTune.
public enum ErrorCode: String, CaseIterable, Sendable {
  case bug
  case usage
  case ioFailed = "io_failed"
  case diskFull = "disk_full"
  case interrupted
  case outOfMemory = "out_of_memory"
  case bundleNotFound = "bundle_not_found"
  case bundleManifestInvalid = "bundle_manifest_invalid"
  case bundleFormatUnsupported = "bundle_format_unsupported"
  case bundleCorrupt = "bundle_corrupt"
  case bundlePathInvalid = "bundle_path_invalid"
  case engineVersionMismatch = "engine_version_mismatch"
  case bundleSignatureInvalid = "bundle_signature_invalid"
  case safetensorsInvalid = "safetensors_invalid"
  case tensorMismatch = "tensor_mismatch"
  case stateMismatch = "state_mismatch"
  case programMissing = "program_missing"
  case engineFailed = "engine_failed"
  case lossNotFinite = "loss_not_finite"
  case adapterUnchanged = "adapter_unchanged"
  case photosUnreadable = "photos_unreadable"
  case photosTooFew = "photos_too_few"
  case promptTooLong = "prompt_too_long"
  case modelNotFound = "model_not_found"
  case modelComponentMissing = "model_component_missing"
  case modelUnsupported = "model_unsupported"
  case modelNotFinite = "model_not_finite"
  case cutIllegal = "cut_illegal"
  case configInvalid = "config_invalid"
  case parityFailed = "parity_failed"
  case loweringFailed = "lowering_failed"
  case toolMissing = "tool_missing"
  case updateInvalid = "update_invalid"
  case updateMismatch = "update_mismatch"
  case roundFailed = "round_failed"
  case dataNotFound = "data_not_found"
  case dataInvalid = "data_invalid"
  case partitionImpossible = "partition_impossible"
  case downloadFailed = "download_failed"
  case quotaExceeded = "quota_exceeded"
}

/// Whatever goes wrong: a code to act on, and one sentence for people that says what to do.
///
/// The sentence names files and settings, never what is in a person's files.
public struct PocketTuneError: Error, Equatable, Sendable, CustomStringConvertible {
  public let code: ErrorCode
  public let message: String

  public init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { "\(code.rawValue): \(message)" }
}

extension PocketTuneError: LocalizedError {
  public var errorDescription: String? { message }
}
