// Opening a bundle: a folder that is exactly what its manifest says (spec/bundle.md, 1 and 2).
#pragma once
#include "files.h"
#include "manifest.h"
#include "safetensors.h"

namespace pockettune {

class Bundle {
 public:
  /// Opens and verifies every byte. Raises bundle_not_found, bundle_manifest_invalid,
  /// bundle_format_unsupported, bundle_path_invalid, bundle_corrupt, safetensors_invalid,
  /// tensor_mismatch, io_failed.
  explicit Bundle(const Path& folder);

  const Manifest& manifest() const { return manifest_; }
  /// Only for bundles that make pictures; the commands ask first.
  const Generation& generation() const { return manifest_.generation.value(); }
  Path path(const std::string& file) const { return folder_ / file; }
  /// A tensor file, opened again. Raises bundle_corrupt when it is not the file that was verified.
  SafetensorsFile tensors(const std::string& file) const;
  /// Raises bundle_corrupt when a file was replaced or written to since it was verified: what is
  /// opened or mapped later must be what was hashed.
  void check_unchanged(const std::string& file) const;
  /// The program of that name; raises program_missing.
  const Program& program(const std::string& name) const;
  /// Raises engine_version_mismatch unless the programs were made for this runtime version (the
  /// parts before any '+').
  void check_engine(std::string_view runtime_version) const;

 private:
  void check_stamp(const std::string& file, const FileStamp& found) const;

  Path folder_;
  Manifest manifest_;
  Named<FileStamp> verified_;
};

}  // namespace pockettune
