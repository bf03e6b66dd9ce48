#define _GNU_SOURCE
#include "kill_at.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* Counts the calls of one function, and dies at the one that was asked for. */
static void reach(const char *call, const char *moment, int number) {
  const char *wanted = getenv("POCKETTUNE_KILL_AT");
  char name[16], when[16];
  int count;
  if (wanted && sscanf(wanted, "%15s %d %15s", name, &count, when) == 3 && strcmp(name, call) == 0 &&
      strcmp(when, moment) == 0 && count == number)
    kill(getpid(), SIGKILL);
}

static void *next_of(const char *name) { return dlsym(RTLD_NEXT, name); }

#define WRAP(result, name, title, parameters, arguments)                    \
  result name parameters {                                                  \
    static atomic_int calls;                                                \
    result(*next) parameters = (result(*) parameters)next_of(#name);        \
    const int number = atomic_fetch_add(&calls, 1) + 1;                     \
    reach(title, "before", number);                                         \
    const result value = next arguments;                                    \
    reach(title, "after", number);                                          \
    return value;                                                           \
  }

WRAP(int, fsync, "fsync", (int file), (file))
WRAP(int, rename, "rename", (const char *from, const char *to), (from, to))
WRAP(int, unlink, "unlink", (const char *path), (path))
WRAP(ssize_t, pwrite, "pwrite", (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at))
WRAP(ssize_t, pwrite64, "pwrite", (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at))
