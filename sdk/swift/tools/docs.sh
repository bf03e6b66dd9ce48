#!/usr/bin/env bash
# The API's pages: docs.sh FOLDER, which lies in the repository (only that is seen inside the toolchain's root). Look at
# them with `python3 -m http.server --directory FOLDER`, at /documentation/pockettune. A link that leads nowhere fails.
#
# What Apple's frameworks guard (canImport, os(iOS)) is not in them: that takes a Mac, where Xcode builds the same catalog.
set -euo pipefail
out=$(realpath -m "${1:?where to}")
cd "$(dirname "$0")/.."
package=$PWD
build=$(realpath -m ../../build)
rm -rf "$build/swift-symbols"
mkdir -p "$build/swift-symbols" "$(dirname "$out")"
modules=(PocketTune PocketTuneExecuTorch)
for module in "${modules[@]}"; do
  said=$(tools/toolchain.sh run swift build --target "$module" --scratch-path "$build/swift-reference" 2>&1) ||
    { echo "$said" >&2; exit 1; }
  tools/toolchain.sh run swift symbolgraph-extract -module-name "$module" -I "$build/swift-reference/debug/Modules" \
    -I "$package/Sources/CPocketTuneEngine" -target "$(uname -m)-pc-linux-gnu" -minimum-access-level public \
    -skip-synthesized-members -output-dir "$build/swift-symbols"
done
tools/toolchain.sh run /usr/libexec/swift/bin/docc convert "$package/Sources/PocketTune/PocketTune.docc" \
  --additional-symbol-graph-dir "$build/swift-symbols" --fallback-display-name PocketTune \
  --fallback-bundle-identifier org.pockettune --output-path "$out" --warnings-as-errors
