#include "bundle.h"

#include <sys/stat.h>

#include "manifest_reader.h"

namespace pockettune {
namespace {

[[noreturn]] void corrupt(const std::string& why) {
  throw Failure(code::bundle_corrupt, why + ": fetch or export the bundle again");
}

std::string read_manifest(const Path& folder) {
  const Path path = folder / "manifest.json";
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) {
    throw Failure(code::bundle_not_found,
                  "'" + folder.string() + "' is no bundle: it has no manifest.json");
  }
  if (!S_ISREG(status.st_mode)) {
    throw Failure(code::io_failed,
                  "'" + path.string() + "' is not a regular file: a bundle holds files only");
  }
  const ReadFile file(path);
  if (file.size() > max_json_bytes) invalid_manifest("it is larger than 16 MiB");
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

/// Neither the file nor a folder on the way to it may be a link.
void check_size(const Path& folder, const std::string& name, uint64_t bytes) {
  Path path = folder;
  struct stat status{};
  for (const Path& part : Path(name)) {
    path /= part;
    if (lstat(path.c_str(), &status) != 0) corrupt("'" + path.string() + "' is missing");
    if (S_ISLNK(status.st_mode)) {
      throw Failure(code::bundle_path_invalid,
                    "'" + path.string() + "' is a link: a bundle holds files only");
    }
  }
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) != bytes) {
    corrupt("'" + path.string() + "' is not a file of " + std::to_string(bytes) + " bytes");
  }
}

std::string release(std::string_view version) {
  return std::string(version.substr(0, version.find('+')));
}

}  // namespace

Bundle::Bundle(const Path& folder)
    : folder_(folder), manifest_(parse_manifest(read_manifest(folder))) {
  // Sizes first: hashing is slow, and a file that was cut off is the common case.
  for (const auto& [name, entry] : manifest_.files) check_size(folder_, name, entry.bytes);
  for (const auto& [name, entry] : manifest_.files) {
    const ReadFile file(path(name));
    if (file.sha256_from(0) != entry.sha256)
      corrupt("'" + path(name).string() + "' has changed bytes");
    verified_.emplace(name, file.stamp());
  }
  for (const auto& [name, tensor] : manifest_.tensors) {
    if (tensor.file) tensors(*tensor.file).require(name, tensor.dtype, tensor.shape);
  }
}

SafetensorsFile Bundle::tensors(const std::string& file) const {
  SafetensorsFile opened(path(file));
  check_stamp(file, opened.stamp());
  return opened;
}

void Bundle::check_unchanged(const std::string& file) const {
  check_stamp(file, ReadFile(path(file)).stamp());
}

void Bundle::check_stamp(const std::string& file, const FileStamp& found) const {
  if (found != verified_.at(file))
    corrupt("'" + path(file).string() + "' was changed while it was in use");
}

const Program& Bundle::program(const std::string& name) const {
  const auto found = manifest_.programs.find(name);
  if (found != manifest_.programs.end()) return found->second;
  std::string names;
  for (const auto& [other, program] : manifest_.programs)
    names += (names.empty() ? "" : ", ") + other;
  throw Failure(code::program_missing, "the bundle has no program '" + name + "': it has " + names);
}

void Bundle::check_engine(std::string_view runtime_version) const {
  if (release(manifest_.executorch) == release(runtime_version)) return;
  throw Failure(
      code::engine_version_mismatch,
      "the bundle was made for executorch " +
          (manifest_.executorch.empty() ? "of an unknown version" : manifest_.executorch) +
          ", this runner has " + std::string(runtime_version) +
          ": export the bundle again with that version");
}

}  // namespace pockettune
