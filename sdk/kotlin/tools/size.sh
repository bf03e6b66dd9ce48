#!/usr/bin/env bash
# What each module with an api folder adds to an app, without its dependencies: its code as Android packs it has at most
# 300 KB, and neither that nor the jar may grow by more than 10 % over what MODULE/api/MODULE.size says ("dex jar", bytes).
# With --update that file is written.
set -euo pipefail
cd "$(dirname "$0")/.."
most=300000
classpath=$(tools/classpath.sh r8)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for folder in */api; do
  module=${folder%/api}
  jar=$(ls "$module"/target/pockettune-"$module"-*.jar)
  java -cp "$classpath" com.android.tools.r8.D8 --release --min-api 29 --output "$work/$module.zip" "$jar"
  dex=$(stat -c %s "$work/$module.zip")
  size=$(stat -c %s "$jar")
  [ "${1:-}" = --update ] && echo "$dex $size" > "$folder/$module.size"
  read -r known_dex known_size < "$folder/$module.size"
  echo "$module: $dex bytes in an app (at most $most, $known_dex before), $size bytes as a jar ($known_size before)"
  if [ "$dex" -gt $most ] || [ $((dex * 10)) -gt $((known_dex * 11)) ] || [ $((size * 10)) -gt $((known_size * 11)) ]; then
    echo "$module has grown too large: make it smaller, or run sdk/kotlin/tools/size.sh --update" >&2
    exit 1
  fi
done
