#!/usr/bin/env bash
# Compares the public interface of each built jar with MODULE/api/MODULE.api; with --update it writes that file.
set -euo pipefail
cd "$(dirname "$0")/.."
classpath=$(tools/classpath.sh abi)
for folder in */api; do
  module=${folder%/api}
  jar=$(ls "$module"/target/pockettune-"$module"-*.jar)
  found=$(java -cp "$classpath" tools/Abi.java "$jar")
  if [ "${1:-}" = --update ]; then
    printf '%s\n' "$found" > "$folder/$module.api"
  elif ! diff -u "$folder/$module.api" <(printf '%s\n' "$found"); then
    echo "the public interface of $module has changed: if that is meant, run sdk/kotlin/tools/abi.sh --update" >&2
    exit 1
  fi
done
