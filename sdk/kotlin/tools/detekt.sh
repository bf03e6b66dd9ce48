#!/usr/bin/env bash
# Looks for what is likely wrong in all Kotlin sources that ship: detekt's rules, but for what tools/detekt.yml says.
set -euo pipefail
cd "$(dirname "$0")/.."
classpath=$(tools/classpath.sh detekt)
sources=$(printf '%s\n' */src/main/kotlin ../../android_demo/*/src/main/kotlin | paste -sd,)
exec java -cp "$classpath" io.gitlab.arturbosch.detekt.cli.Main --build-upon-default-config --config tools/detekt.yml \
  --jvm-target 17 --parallel --base-path "$PWD/../.." --input "$sources"
