// Runs a program by its bindings: finds every input's bytes, and puts every output where it
// belongs. It knows no method and no model.
#pragma once
#include "cache.h"
#include "sampler.h"
#include "session.h"
#include "state.h"

namespace pockettune {

/// Which prompt, photo, sample and picture a run is about.
struct Item {
  uint64_t prompt = 0;
  uint64_t unconditional = 0;  // the prompt that stands for no prompt
  uint64_t photo = 0;
  uint64_t sample = 0;
  uint64_t picture = 0;
  uint64_t step = 0;    // of a client in a round
  uint64_t round = 0;   // below 2^20
  uint64_t client = 0;  // below 2^24
  float weight = 1;
  Timestep timestep{0, 0};

  uint64_t index(Scope scope) const;
};

/// The app's data: tokenized prompts, and photos that are read when they are needed.
struct Batch {
  std::vector<std::vector<int64_t>> prompts = {};
  const SafetensorsFile* photos = nullptr;  // with a float32 tensor "pixels" [n, 3, H, W]
  // Tensors that the caller fills before a run, by the names of their bindings.
  Named<Buffer> tensors = {};
};

/// What inputs are fed from.
struct Feed {
  uint64_t seed;
  Numbers hyper;
  const Batch& batch;
  State& state;
  CacheStore& caches;
};

class Executor {
 public:
  Executor(const Bundle& bundle, const Program& program, const Feed& feed);

  void run(const Item& item);
  /// The loss of the last run; raises bundle_manifest_invalid when the program has none.
  float loss() const;
  /// A metric of the last run, likewise.
  float metric(std::string_view name) const;
  /// The first output.* of the last run, likewise; it must be float32.
  std::span<const float> output() const;

 private:
  struct Slot {
    const Argument* argument;
    Buffer value;   // empty for state tensors, which are used in place
    Buffer stored;  // a cache's value as it is kept, when that is another type
  };
  static std::vector<Slot> make_slots(const Bundle& bundle, const std::vector<Argument>& arguments);
  void fill(Slot& slot, const Item& item);
  void fill_batch(Slot& slot, const Item& item);
  void fill_hyper(Slot& slot, const Item& item);
  void keep(Slot& slot, const Item& item);
  const Slot& output_of(BindingKind kind) const;

  const Bundle& bundle_;
  const Program& program_;
  Feed feed_;
  Session session_;
  std::vector<Slot> inputs_;
  std::vector<Slot> outputs_;
};

}  // namespace pockettune
