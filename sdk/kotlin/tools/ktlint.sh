#!/usr/bin/env bash
# Checks the form of all Kotlin sources; with --format it writes what it can.
set -euo pipefail
cd "$(dirname "$0")/.."
classpath=$(tools/classpath.sh ktlint)
exec java -cp "$classpath" com.pinterest.ktlint.Main --log-level=error --relative --editorconfig=.editorconfig "$@" \
  "*/src/**/*.kt" "../../android_demo/*/src/**/*.kt"
