/* A library to be preloaded by tests: it kills its process at the n-th call that writes, syncs or renames, before or
 * after it. POCKETTUNE_KILL_AT is like "fsync 3 after". */
