/* PocketTune's engine: load a bundle's program file and run its methods, in plain C.
 *
 * One header is the whole ABI: opaque handles, int results, no exceptions, no global state but the
 * thread count.
 *
 *     pockettune_program *program;
 *     pockettune_method *step;
 *     if (pockettune_program_open("bundle/programs.pte", &program) != POCKETTUNE_OK)
 *       fail(pockettune_engine_error());
 *     pockettune_method_load(program, "train_step", &step);
 *     pockettune_buffer inputs[] = {{adapter, adapter_bytes}, ...};
 *     pockettune_buffer outputs[] = {{loss, 4}, {new_adapter, adapter_bytes}, ...};
 *     pockettune_method_run(step, inputs, 5, outputs, 4);
 *     pockettune_method_free(step);  // gives its memory back: load the next phase's method now
 *     pockettune_program_close(program);  // after all of its methods were freed
 *
 * Threads: a handle is for one thread at a time; different programs may be used on different
 * threads. The text of pockettune_engine_error() belongs to the calling thread. The runtime's own
 * thread pool is shared by the process. Memory: the program file is mapped, not read. A method owns
 * its planned arena and its delegates' workspaces. Buffers belong to the caller, must be aligned to
 * 16 bytes, and must not overlap in one run.
 */
#ifndef POCKETTUNE_ENGINE_H
#define POCKETTUNE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POCKETTUNE_ENGINE_ABI 1
#define POCKETTUNE_MAX_RANK 16
#define POCKETTUNE_API __attribute__((visibility("default")))

/* Results. 0 is success. */
enum {
  POCKETTUNE_OK = 0,
  POCKETTUNE_ARGUMENT = -1, /* a null pointer, an index or a count out of range */
  POCKETTUNE_FILE = -2,     /* the file cannot be opened or is not a program */
  POCKETTUNE_METHOD = -3,   /* no method of that name, or it cannot be loaded */
  POCKETTUNE_SIZE = -4,     /* a buffer's size is not the tensor's */
  POCKETTUNE_MEMORY = -5,   /* out of memory */
  POCKETTUNE_RUNTIME = -6   /* the runtime failed while it ran */
};

/* Element types; any other type of a program is POCKETTUNE_OTHER. */
enum {
  POCKETTUNE_OTHER = 0,
  POCKETTUNE_FLOAT32 = 1,
  POCKETTUNE_FLOAT16 = 2,
  POCKETTUNE_INT64 = 3,
  POCKETTUNE_INT32 = 4,
  POCKETTUNE_UINT8 = 5,
  POCKETTUNE_INT8 = 6
};

typedef struct pockettune_program pockettune_program;
typedef struct pockettune_method pockettune_method;

/* One input or output: its element type, rank, shape and size. */
typedef struct {
  int32_t dtype;
  int32_t rank;
  int64_t shape[POCKETTUNE_MAX_RANK];
  size_t bytes;
} pockettune_tensor;

/* A caller's memory. An input's is only read. */
typedef struct {
  void* data;
  size_t bytes;
} pockettune_buffer;

/* POCKETTUNE_ENGINE_ABI of the library. */
POCKETTUNE_API int pockettune_engine_abi(void);
/* The runtime's version, like "1.5.1". */
POCKETTUNE_API const char* pockettune_engine_version(void);
/* What the last failed call on this thread says; valid until the next call on it. */
POCKETTUNE_API const char* pockettune_engine_error(void);
/* Threads that operators may use, 1 to 64. Call it before a method is loaded. */
POCKETTUNE_API int pockettune_engine_set_threads(int threads);

POCKETTUNE_API int pockettune_program_open(const char* path, pockettune_program** program);
POCKETTUNE_API void pockettune_program_close(pockettune_program* program);
POCKETTUNE_API int pockettune_program_method_count(const pockettune_program* program,
                                                   size_t* count);
/* The name is valid while the program is open. */
POCKETTUNE_API int pockettune_program_method_name(const pockettune_program* program, size_t index,
                                                  const char** name);

POCKETTUNE_API int pockettune_method_load(pockettune_program* program, const char* name,
                                          pockettune_method** method);
POCKETTUNE_API void pockettune_method_free(pockettune_method* method);

POCKETTUNE_API int pockettune_method_input_count(const pockettune_method* method, size_t* count);
POCKETTUNE_API int pockettune_method_output_count(const pockettune_method* method, size_t* count);
POCKETTUNE_API int pockettune_method_input(const pockettune_method* method, size_t index,
                                           pockettune_tensor* tensor);
POCKETTUNE_API int pockettune_method_output(const pockettune_method* method, size_t index,
                                            pockettune_tensor* tensor);
/* Bytes of the planned arena (activations), without delegates' workspaces. */
POCKETTUNE_API int pockettune_method_arena_bytes(const pockettune_method* method, size_t* bytes);

/* Runs once: inputs and outputs in the method's order, every one of exactly its tensor's size. */
POCKETTUNE_API int pockettune_method_run(pockettune_method* method, const pockettune_buffer* inputs,
                                         size_t input_count, const pockettune_buffer* outputs,
                                         size_t output_count);

#ifdef __cplusplus
}
#endif
#endif
