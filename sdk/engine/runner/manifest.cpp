#include "manifest.h"

#include <algorithm>
#include <set>

#include "failure.h"
#include "files.h"
#include "manifest_reader.h"
#include "sha256.h"

namespace pockettune {
namespace {

constexpr std::string_view opening = "{\"bundle_id\":\"";
constexpr std::string_view middle = "\",\"signature\":\"";
constexpr size_t digest_digits = 64;
constexpr size_t signature_digits = 88;  // base64 of 64 bytes

/// Checks the fixed beginning; gives the identifier and where the rest starts.
std::pair<std::string, size_t> parse_opening(std::string_view bytes) {
  const size_t id_begin = opening.size();
  const size_t signature_begin = id_begin + digest_digits + middle.size();
  if (!bytes.starts_with(opening) || bytes.size() < signature_begin ||
      bytes.substr(id_begin + digest_digits, middle.size()) != middle) {
    invalid_manifest("it does not begin with bundle_id and signature");
  }
  const std::string_view id = bytes.substr(id_begin, digest_digits);
  if (!is_hex_digest(id)) invalid_manifest("bundle_id is not 64 hexadecimal digits");
  const size_t signature_end = bytes.find("\",", signature_begin);
  if (signature_end == std::string_view::npos)
    invalid_manifest("it does not begin with bundle_id and signature");
  const std::string_view signature = bytes.substr(signature_begin, signature_end - signature_begin);
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  // The last digit carries two bits of the 64th byte, so only four digits are canonical there.
  const bool base64 =
      signature.size() == signature_digits && signature.ends_with("==") &&
      signature.substr(0, signature_digits - 2).find_first_not_of(alphabet) ==
          std::string_view::npos &&
      std::string_view("AQgw").find(signature[signature_digits - 3]) != std::string_view::npos;
  if (!signature.empty() && !base64)
    invalid_manifest("signature is neither empty nor base64 of 64 bytes");
  return {std::string(id), signature_end + 2};
}

std::vector<View> parse_views(const Reader& reader, const StateTensor& tensor) {
  std::vector<View> views;
  uint64_t expected = 0;
  std::set<std::string> names;
  reader.each_value([&](const Reader& value) {
    View view{value["name"].text(), value["shape"].shape(), value["offset"].count()};
    if (view.offset != expected) value["offset"].fail("leaves a gap or overlaps");
    if (!names.insert(view.name).second) value["name"].fail("stands twice");
    expected += *element_count(view.shape);
    views.push_back(std::move(view));
  });
  if (!views.empty() && expected != *element_count(tensor.shape))
    reader.fail("does not cover the tensor");
  return views;
}

StateTensor parse_tensor(const Reader& reader) {
  StateTensor tensor{
      reader["dtype"].dtype(),
      reader["shape"].shape(),
      reader["role"].one_of({"adapter", "model", "moment", "accumulator", "counter"}),
      {},
      {}};
  if (!reader["file"].is_null()) tensor.file = reader["file"].text();
  check_bytes(reader, tensor.shape, tensor.dtype);
  if (reader.has("views")) tensor.views = parse_views(reader["views"], tensor);
  return tensor;
}

Cache parse_cache(const Reader& reader) {
  Cache cache{reader["dtype"].dtype(),
              reader["shape"].shape(),
              reader["stored"].dtype(),
              reader["scope"].cache_scope(),
              {}};
  check_bytes(reader, cache.shape, cache.dtype);
  const bool halved = cache.dtype == DType::float32 && cache.stored == DType::float16;
  if (cache.stored != cache.dtype && !halved)
    reader["stored"].fail("is no way to store that dtype");
  if (reader.has("initial")) {
    reader["initial"]["binding"].one_of({"random.normal"});
    cache.initial_stream = static_cast<uint32_t>(reader["initial"]["stream"].whole(0, 0xffffffff));
  }
  return cache;
}

Argument parse_argument(const Reader& reader) {
  const std::optional<Binding> binding = parse_binding(reader["binding"].text());
  if (!binding) reader["binding"].fail("is no known binding");
  Argument argument{reader["name"].text(), reader["dtype"].dtype(), reader["shape"].shape(),
                    *binding};
  check_bytes(reader, argument.shape, argument.dtype);
  const BindingKind kind = binding->kind;
  const bool integer = kind == BindingKind::random_integer;
  const bool random =
      integer || kind == BindingKind::random_normal || kind == BindingKind::random_uniform;
  constexpr int64_t limit = (int64_t{1} << 53) - 1;
  if (random || reader.has("stream"))
    argument.stream = static_cast<uint32_t>(reader["stream"].whole(0, 0xffffffff));
  if (random || reader.has("index")) argument.index = reader["index"].scope();
  if (integer || reader.has("low")) argument.low = reader["low"].whole(-limit, limit);
  if (integer || reader.has("high")) argument.high = reader["high"].whole(-limit, limit);
  if (reader.has("prompt")) {
    argument.unconditional =
        reader["prompt"].one_of({"conditional", "unconditional"}) == "unconditional";
  }
  return argument;
}

Program parse_program(const std::string& name, const Reader& reader) {
  Program program;
  program.name = name;
  reader["engines"].each_member([&](const std::string& engine, const Reader& value) {
    program.files.push_back(value["file"].text());
    const std::string method = value["method"].text();
    if (engine != engine_name) return;
    program.file = program.files.back();
    program.method = method;
  });
  if (program.files.empty()) reader["engines"].fail("is empty");
  reader["inputs"].each_value(
      [&](const Reader& value) { program.inputs.push_back(parse_argument(value)); });
  reader["outputs"].each_value(
      [&](const Reader& value) { program.outputs.push_back(parse_argument(value)); });
  return program;
}

Training parse_training(const Reader& reader) {
  return {reader["program"].text(), reader["steps"].positive(), reader["samples"].positive(),
          reader["accumulation"].positive(), reader["hyper"].numbers()};
}

Generation parse_generation(const Reader& reader) {
  return {reader["step_program"].text(),
          reader["output_program"].text(),
          reader["prompt_program"].text(),
          reader["steps"].positive(),
          reader["train_timesteps"].positive(),
          reader["spacing"].one_of({"trailing", "leading"}) == "trailing" ? Spacing::trailing
                                                                          : Spacing::leading,
          static_cast<int64_t>(reader["steps_offset"].count()),
          reader["hyper"].numbers()};
}

/// What pictures need. A manifest of another task may lack all of it.
void parse_picture_members(const Reader& root, Manifest& manifest) {
  const bool required = manifest.task == "text_to_image";
  if (required || root.has("generation"))
    manifest.generation = parse_generation(root["generation"]);
  if (required || root.has("text")) {
    const Reader text = root["text"];
    manifest.max_length = text["max_length"].positive();
    manifest.tokenizer_files = {text["tokenizer"]["vocab"].text(),
                                text["tokenizer"]["merges"].text()};
    text["unconditional_ids"].each_value([&](const Reader& value) {
      manifest.unconditional_ids.push_back(static_cast<int64_t>(value.count()));
    });
  }
  if (required || root.has("image")) {
    manifest.height = root["image"]["height"].positive();
    manifest.width = root["image"]["width"].positive();
  }
  if (required || root.has("adapter")) {
    manifest.has_adapter = true;
    manifest.adapter = root["adapter"]["tensors"].text();
    root["adapter"]["metadata"].each_member([&](const std::string& name, const Reader& value) {
      manifest.adapter_metadata[name] = value.text();
    });
  }
}

/// What a client of a fleet needs. A manifest of another task may lack it.
void parse_classification(const Reader& root, Manifest& manifest) {
  if (manifest.task != "classification" && !root.has("classification")) return;
  const Reader reader = root["classification"];
  Classification found;
  found.input_shape = reader["input_shape"].shape();
  found.classes = reader["classes"].positive();
  found.batch_size = reader["batch_size"].positive();
  found.epochs = reader["epochs"].positive();
  found.parameters = reader["parameters"].text();
  found.evaluate_program = reader["evaluate_program"].text();
  reader["predict_programs"].each_member([&](const std::string& name, const Reader& value) {
    const int64_t bits = value["bits"].whole(2, 32);
    if (bits > 8 && bits != 32) value["bits"].fail("is not 2 to 8 or 32");
    value["arithmetic"].one_of({"float32"});
    found.predict_programs.push_back(name);
  });
  manifest.classification = std::move(found);
}

void parse_budget(const Reader& reader, Manifest& manifest) {
  reader["programs"].each_member([&](const std::string& name, const Reader& value) {
    manifest.budgeted.push_back(name);
    value["arena_bytes"].count();
    value["weight_bytes"].count();
    if (value.has("measured")) value["measured"].members();
  });
}

}  // namespace

Manifest parse_manifest(std::string_view bytes) {
  const auto [bundle_id, rest_begin] = parse_opening(bytes);
  Sha256 hash;
  hash.update(as_bytes("{"));
  hash.update(as_bytes(bytes.substr(rest_begin)));
  if (hash.hex() != bundle_id) {
    throw Failure(code::bundle_corrupt,
                  "manifest.json is not what its bundle_id says: fetch or export the bundle again");
  }
  Json json;
  try {
    json = Json::parse(bytes);
  } catch (const JsonError& error) {
    invalid_manifest(error.what());
  }
  const Reader root(json, "");
  const int64_t format = root["format"].whole(INT64_MIN, INT64_MAX);
  if (format != 1) {
    throw Failure(code::bundle_format_unsupported,
                  "the bundle has format " + std::to_string(format) +
                      ", this runner reads 1: export it with a matching version");
  }
  Manifest manifest;
  manifest.bundle_id = bundle_id;
  manifest.name = root["name"].text();
  manifest.task = root["task"].text();
  root["method"]["name"].text();
  root["method"]["config"].members();
  root["tools"].each_member([&](const std::string& name, const Reader& value) {
    if (name == "executorch") manifest.executorch = value.text();
    value.text();
  });
  const int64_t bits = root["precision"]["frozen_bits"].whole(INT64_MIN, INT64_MAX);
  if (bits != 8 && bits != 32) root["precision"]["frozen_bits"].fail("is not 8 or 32");
  root["precision"]["state"].one_of({"float32"});
  root["precision"]["wire"].one_of({"float32"});
  root["files"].each_member([&](const std::string& name, const Reader& value) {
    const std::string digest = value["sha256"].text();
    if (!is_hex_digest(digest)) value["sha256"].fail("is not 64 hexadecimal digits");
    manifest.files[name] = {digest, value["bytes"].count()};
  });
  root["tensors"].each_member([&](const std::string& name, const Reader& value) {
    manifest.tensors[name] = parse_tensor(value);
  });
  root["caches"].each_member([&](const std::string& name, const Reader& value) {
    manifest.caches[name] = parse_cache(value);
  });
  root["programs"].each_member([&](const std::string& name, const Reader& value) {
    manifest.programs[name] = parse_program(name, value);
  });
  root["preparation"].each_value(
      [&](const Reader& value) { manifest.preparation.push_back(value.text()); });
  manifest.training = parse_training(root["training"]);
  parse_picture_members(root, manifest);
  parse_classification(root, manifest);
  parse_budget(root["budget"], manifest);
  root["parity"].each_member(
      [](const std::string&, const Reader& value) { value["tolerance"].members(); });
  check_file_names(manifest);
  check_references(manifest);
  return manifest;
}

}  // namespace pockettune
