// The C ABI over ExecuTorch's Program and Method. The runtime's Module class is not used: it
// zero-fills the planned arena, which makes all of it resident before the first run, and it keeps
// every loaded method.
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "pockettune_engine.h"

// The wheel ships the thread pool's library without its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::MallocMemoryAllocator;
using executorch::extension::MmapDataLoader;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::Span;
using executorch::runtime::Tag;
using executorch::runtime::TensorInfo;

thread_local std::string last_error;
// The runtime explains a failure in its log, not in its result: the last error line is kept for the
// caller.
thread_local std::string last_log;

void keep_log(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t,
              const char* message, size_t length) {
  if (level == kError || level == kFatal) last_log.assign(message, length);
}

void start_runtime() {
  static std::once_flag once;
  std::call_once(once, [] {
    executorch::runtime::runtime_init();
    executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep_log, __FILE__));
  });
}

int fail(int result, std::string text) {
  last_error = std::move(text);
  return result;
}

int fail(int result, const std::string& what, Error error) {
  std::string text = what + ": " + executorch::runtime::to_string(error);
  if (!last_log.empty()) text += " (" + last_log + ")";
  return fail(error == Error::MemoryAllocationFailed ? POCKETTUNE_MEMORY : result, std::move(text));
}

template <class Function>
int guarded(Function&& function) noexcept {
  try {
    last_log.clear();
    return function();
  } catch (const std::bad_alloc&) {
    last_error = "no memory";  // short enough to need none
    return POCKETTUNE_MEMORY;
  } catch (const std::exception& error) {
    return fail(POCKETTUNE_RUNTIME, error.what());
  } catch (...) {
    return fail(POCKETTUNE_RUNTIME, "an unknown exception");
  }
}

int32_t dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return POCKETTUNE_FLOAT32;
    case ScalarType::Half:
      return POCKETTUNE_FLOAT16;
    case ScalarType::Long:
      return POCKETTUNE_INT64;
    case ScalarType::Int:
      return POCKETTUNE_INT32;
    case ScalarType::Byte:
      return POCKETTUNE_UINT8;
    case ScalarType::Char:
      return POCKETTUNE_INT8;
    default:
      return POCKETTUNE_OTHER;
  }
}

/// A tensor header that outlives the runs; only its data pointer changes.
struct Slot {
  pockettune_tensor info{};
  bool planned = false;  // the arena holds it, so its bytes are copied
  std::vector<executorch::aten::SizesType> sizes;
  std::vector<executorch::aten::DimOrderType> order;
  std::optional<TensorImpl> tensor;

  explicit Slot(const TensorInfo& meta) {
    info.dtype = dtype_of(meta.scalar_type());
    info.rank = static_cast<int32_t>(meta.sizes().size());
    info.bytes = meta.nbytes();
    planned = meta.is_memory_planned();
    sizes.assign(meta.sizes().begin(), meta.sizes().end());
    order.assign(meta.dim_order().begin(), meta.dim_order().end());
    for (size_t i = 0; i < sizes.size(); i++) info.shape[i] = sizes[i];
    tensor.emplace(meta.scalar_type(), static_cast<ssize_t>(sizes.size()), sizes.data(), nullptr,
                   order.data());
  }
};

struct FreeDeleter {
  void operator()(void* pointer) const { std::free(pointer); }
};

}  // namespace

struct pockettune_program {
  std::unique_ptr<MmapDataLoader> loader;
  std::unique_ptr<Program> program;
};

struct pockettune_method {
  // In the order of construction: the method goes first, then the memory it uses.
  std::vector<std::unique_ptr<void, FreeDeleter>> arenas;
  std::vector<Span<uint8_t>> spans;
  size_t arena_bytes = 0;
  std::unique_ptr<HierarchicalAllocator> planned;
  MallocMemoryAllocator allocator;
  MallocMemoryAllocator temporary;
  std::unique_ptr<MemoryManager> memory;
  std::vector<std::unique_ptr<Slot>> inputs;
  std::vector<std::unique_ptr<Slot>> outputs;
  std::unique_ptr<Method> method;
};

namespace {

int describe_tensors(const MethodMeta& meta, pockettune_method& method) {
  for (size_t i = 0; i < meta.num_inputs(); i++) {
    const auto info = meta.input_tensor_meta(i);
    if (!info.ok())
      return fail(POCKETTUNE_METHOD, "input " + std::to_string(i) + " is no tensor", info.error());
    if (info->sizes().size() > POCKETTUNE_MAX_RANK)
      return fail(POCKETTUNE_METHOD, "an input has too many dimensions");
    method.inputs.push_back(std::make_unique<Slot>(*info));
  }
  for (size_t i = 0; i < meta.num_outputs(); i++) {
    const auto info = meta.output_tensor_meta(i);
    if (!info.ok())
      return fail(POCKETTUNE_METHOD, "output " + std::to_string(i) + " is no tensor", info.error());
    if (info->sizes().size() > POCKETTUNE_MAX_RANK)
      return fail(POCKETTUNE_METHOD, "an output has too many dimensions");
    method.outputs.push_back(std::make_unique<Slot>(*info));
  }
  return POCKETTUNE_OK;
}

int plan_memory(const MethodMeta& meta, pockettune_method& method) {
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); i++) {
    const auto size = meta.memory_planned_buffer_size(i);
    if (!size.ok()) return fail(POCKETTUNE_METHOD, "the memory plan is broken", size.error());
    const auto bytes = static_cast<size_t>(*size);
    // calloc maps large blocks without touching them: pages become resident when they are first
    // used.
    void* arena = std::calloc(bytes ? bytes : 1, 1);
    if (!arena)
      return fail(POCKETTUNE_MEMORY,
                  "no memory for an arena of " + std::to_string(bytes) + " bytes");
    method.arenas.emplace_back(arena);
    method.spans.emplace_back(static_cast<uint8_t*>(arena), bytes);
    method.arena_bytes += bytes;
  }
  method.planned = std::make_unique<HierarchicalAllocator>(
      Span<Span<uint8_t>>(method.spans.data(), method.spans.size()));
  method.memory =
      std::make_unique<MemoryManager>(&method.allocator, method.planned.get(), &method.temporary);
  return POCKETTUNE_OK;
}

int check_buffers(const char* kind, const std::vector<std::unique_ptr<Slot>>& slots,
                  const pockettune_buffer* buffers, size_t count) {
  if (count != slots.size()) {
    return fail(POCKETTUNE_ARGUMENT, std::string("the method has ") + std::to_string(slots.size()) +
                                         " " + kind + "s, not " + std::to_string(count));
  }
  for (size_t i = 0; i < count; i++) {
    if (!buffers[i].data)
      return fail(POCKETTUNE_ARGUMENT, std::string(kind) + " " + std::to_string(i) + " is null");
    if (buffers[i].bytes != slots[i]->info.bytes) {
      return fail(POCKETTUNE_SIZE, std::string(kind) + " " + std::to_string(i) + " has " +
                                       std::to_string(slots[i]->info.bytes) + " bytes, not " +
                                       std::to_string(buffers[i].bytes));
    }
  }
  return POCKETTUNE_OK;
}

int tensor_at(const std::vector<std::unique_ptr<Slot>>& slots, size_t index,
              pockettune_tensor* tensor) {
  if (!tensor || index >= slots.size())
    return fail(POCKETTUNE_ARGUMENT, "a null argument, or no tensor " + std::to_string(index));
  *tensor = slots[index]->info;
  return POCKETTUNE_OK;
}

}  // namespace

int pockettune_engine_abi(void) { return POCKETTUNE_ENGINE_ABI; }

const char* pockettune_engine_version(void) { return POCKETTUNE_EXECUTORCH_VERSION; }

const char* pockettune_engine_error(void) { return last_error.c_str(); }

int pockettune_engine_set_threads(int threads) {
  if (threads < 1 || threads > 64) return fail(POCKETTUNE_ARGUMENT, "threads must be 1 to 64");
  return guarded([&] {
    start_runtime();
    auto* pool = executorch::extension::threadpool::get_threadpool();
    if (!pool || !pool->_unsafe_reset_threadpool(static_cast<uint32_t>(threads))) {
      return fail(POCKETTUNE_RUNTIME, "the thread pool cannot be set");
    }
    return static_cast<int>(POCKETTUNE_OK);
  });
}

int pockettune_program_open(const char* path, pockettune_program** program) {
  if (!path || !program) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  *program = nullptr;
  return guarded([&] {
    start_runtime();
    auto loader = MmapDataLoader::from(path, MmapDataLoader::MlockConfig::NoMlock);
    if (!loader.ok())
      return fail(POCKETTUNE_FILE, "the program file cannot be opened", loader.error());
    auto opened = std::make_unique<pockettune_program>();
    opened->loader = std::make_unique<MmapDataLoader>(std::move(*loader));
    auto loaded = Program::load(opened->loader.get(), Program::Verification::InternalConsistency);
    if (!loaded.ok()) return fail(POCKETTUNE_FILE, "the file is not a program", loaded.error());
    opened->program = std::make_unique<Program>(std::move(*loaded));
    *program = opened.release();
    return static_cast<int>(POCKETTUNE_OK);
  });
}

void pockettune_program_close(pockettune_program* program) { delete program; }

int pockettune_program_method_count(const pockettune_program* program, size_t* count) {
  if (!program || !count) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  *count = program->program->num_methods();
  return POCKETTUNE_OK;
}

int pockettune_program_method_name(const pockettune_program* program, size_t index,
                                   const char** name) {
  if (!program || !name || index >= program->program->num_methods())
    return fail(POCKETTUNE_ARGUMENT, "a null argument, or no method " + std::to_string(index));
  const auto found = program->program->get_method_name(index);
  if (!found.ok()) return fail(POCKETTUNE_FILE, "a method has no name", found.error());
  *name = *found;
  return POCKETTUNE_OK;
}

int pockettune_method_load(pockettune_program* program, const char* name,
                           pockettune_method** method) {
  if (!program || !name || !method) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  *method = nullptr;
  return guarded([&] {
    const auto meta = program->program->method_meta(name);
    if (!meta.ok())
      return fail(POCKETTUNE_METHOD, std::string("no method '") + name + "'", meta.error());
    auto loaded = std::make_unique<pockettune_method>();
    if (int result = describe_tensors(*meta, *loaded); result != POCKETTUNE_OK) return result;
    if (int result = plan_memory(*meta, *loaded); result != POCKETTUNE_OK) return result;
    auto runtime_method = program->program->load_method(name, loaded->memory.get());
    if (!runtime_method.ok()) {
      return fail(POCKETTUNE_METHOD, std::string("method '") + name + "' cannot be loaded",
                  runtime_method.error());
    }
    loaded->method = std::make_unique<Method>(std::move(*runtime_method));
    *method = loaded.release();
    return static_cast<int>(POCKETTUNE_OK);
  });
}

void pockettune_method_free(pockettune_method* method) {
  if (!method) return;
  delete method;
  malloc_trim(0);  // packed weights are many small blocks: without this the next phase's peak would
                   // stand on top of them
}

int pockettune_method_input_count(const pockettune_method* method, size_t* count) {
  if (!method || !count) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  *count = method->inputs.size();
  return POCKETTUNE_OK;
}

int pockettune_method_output_count(const pockettune_method* method, size_t* count) {
  if (!method || !count) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  *count = method->outputs.size();
  return POCKETTUNE_OK;
}

int pockettune_method_input(const pockettune_method* method, size_t index,
                            pockettune_tensor* tensor) {
  if (!method) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  return tensor_at(method->inputs, index, tensor);
}

int pockettune_method_output(const pockettune_method* method, size_t index,
                             pockettune_tensor* tensor) {
  if (!method) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  return tensor_at(method->outputs, index, tensor);
}

int pockettune_method_arena_bytes(const pockettune_method* method, size_t* bytes) {
  if (!method || !bytes) return fail(POCKETTUNE_ARGUMENT, "a null argument");
  *bytes = method->arena_bytes;
  return POCKETTUNE_OK;
}

int pockettune_method_run(pockettune_method* method, const pockettune_buffer* inputs,
                          size_t input_count, const pockettune_buffer* outputs,
                          size_t output_count) {
  if (!method || (input_count && !inputs) || (output_count && !outputs)) {
    return fail(POCKETTUNE_ARGUMENT, "a null argument");
  }
  return guarded([&] {
    if (int result = check_buffers("input", method->inputs, inputs, input_count);
        result != POCKETTUNE_OK)
      return result;
    if (int result = check_buffers("output", method->outputs, outputs, output_count);
        result != POCKETTUNE_OK) {
      return result;
    }
    for (size_t i = 0; i < input_count; i++) {
      TensorImpl& tensor = *method->inputs[i]->tensor;
      tensor.set_data(inputs[i].data);
      if (Error error = method->method->set_input(EValue(Tensor(&tensor)), i); error != Error::Ok) {
        return fail(POCKETTUNE_RUNTIME, "input " + std::to_string(i), error);
      }
    }
    for (size_t i = 0; i < output_count; i++) {
      if (method->outputs[i]->planned) continue;
      if (Error error = method->method->set_output_data_ptr(outputs[i].data, outputs[i].bytes, i);
          error != Error::Ok) {
        return fail(POCKETTUNE_RUNTIME, "output " + std::to_string(i), error);
      }
    }
    if (Error error = method->method->execute(); error != Error::Ok) {
      return fail(POCKETTUNE_RUNTIME, "the method failed", error);
    }
    for (size_t i = 0; i < output_count; i++) {
      const EValue& value = method->method->get_output(i);
      if (!value.isTensor() || static_cast<size_t>(value.toTensor().nbytes()) != outputs[i].bytes) {
        return fail(POCKETTUNE_SIZE,
                    "output " + std::to_string(i) + " has another size than planned");
      }
      const void* data = value.toTensor().const_data_ptr();
      // A runtime may hand out its own memory all the same (a constant, or an input passed
      // through).
      if (data != outputs[i].data) std::memcpy(outputs[i].data, data, outputs[i].bytes);
    }
    return static_cast<int>(POCKETTUNE_OK);
  });
}
