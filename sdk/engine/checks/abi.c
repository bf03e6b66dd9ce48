/* The ABI from plain C, as other languages use it: abi FILE METHOD. Prints what is wrong, or "ok".
 */
#include <stdio.h>
#include <string.h>

#include "pockettune_engine.h"

static int expect(int wanted, int found, const char* what) {
  if (wanted == found) return 0;
  printf("%s gave %d, not %d: %s\n", what, found, wanted, pockettune_engine_error());
  return 1;
}

int main(int count, char** words) {
  pockettune_program* program = NULL;
  pockettune_method* method = NULL;
  pockettune_tensor tensor;
  pockettune_buffer buffer = {&tensor, sizeof tensor};
  size_t inputs = 0;
  size_t methods = 0;
  const char* name = NULL;
  size_t arena = 0;
  int wrong = 0;
  if (count != 3) return 2;
  wrong += expect(POCKETTUNE_ENGINE_ABI, pockettune_engine_abi(), "abi");
  wrong += expect(POCKETTUNE_ARGUMENT, pockettune_engine_set_threads(0), "no threads");
  wrong += expect(POCKETTUNE_OK, pockettune_engine_set_threads(1), "one thread");
  wrong += expect(POCKETTUNE_ARGUMENT, pockettune_program_open(NULL, &program), "no path");
  wrong +=
      expect(POCKETTUNE_FILE, pockettune_program_open("/nowhere.pte", &program), "a missing file");
  wrong += expect(POCKETTUNE_FILE, pockettune_program_open(words[0], &program),
                  "a file that is no program");
  wrong += expect(POCKETTUNE_OK, pockettune_program_open(words[1], &program), "open");
  if (wrong) return 1;
  wrong += expect(POCKETTUNE_OK, pockettune_program_method_count(program, &methods), "methods");
  wrong += expect(POCKETTUNE_ARGUMENT, pockettune_program_method_name(program, methods, &name),
                  "a method too many");
  for (size_t i = 0; i < methods; i++) {
    wrong += expect(POCKETTUNE_OK, pockettune_program_method_name(program, i, &name), "a name");
    if (strcmp(name, words[2]) == 0) break;
    wrong += expect(1, i + 1 < methods, "a method's name in the list");
  }
  wrong += expect(POCKETTUNE_METHOD, pockettune_method_load(program, "nothing", &method),
                  "a missing method");
  wrong += strlen(pockettune_engine_error()) ? 0 : expect(1, 0, "an empty sentence");
  wrong += expect(POCKETTUNE_OK, pockettune_method_load(program, words[2], &method), "load");
  if (wrong) return 1;
  wrong += expect(POCKETTUNE_OK, pockettune_method_input_count(method, &inputs), "count");
  wrong += expect(POCKETTUNE_ARGUMENT, pockettune_method_input(method, inputs, &tensor),
                  "an input too many");
  wrong += expect(POCKETTUNE_OK, pockettune_method_input(method, 0, &tensor), "the first input");
  wrong += expect(POCKETTUNE_OK, pockettune_method_arena_bytes(method, &arena), "arena");
  wrong += expect(POCKETTUNE_ARGUMENT,
                  pockettune_method_run(method, &buffer, inputs + 1, &buffer, 1), "a wrong count");
  buffer.bytes = tensor.bytes + 1;
  if (inputs == 1)
    wrong += expect(POCKETTUNE_SIZE, pockettune_method_run(method, &buffer, 1, &buffer, 1),
                    "a wrong size");
  pockettune_method_free(method);
  pockettune_method_free(NULL);
  pockettune_program_close(program);
  pockettune_program_close(NULL);
  if (!wrong) puts("ok");
  return wrong != 0;
}
