#!/usr/bin/env bash
# Checks the types of the Swift SDK's Apple code on Linux: check.sh FOLDER, of work, in the repository. The files beside
# this one declare what that code uses of Apple's frameworks, transcribed from Apple's documentation by hand: what passes
# here need not pass on a Mac, but what fails here (a value that crosses threads, a missing `try`) fails there too.
set -euo pipefail
work=$(realpath -m "${1:?where to work}")
cd "$(dirname "$0")"
here=$PWD
sources=../../../sdk/swift/Sources
toolchain=../../../sdk/swift/tools/toolchain.sh
rm -rf "$work"
mkdir -p "$work/PocketTune" "$work/PocketTuneCoreML"
for module in DarwinFoundation BackgroundTasks Network UIKit os CoreGraphics ImageIO CryptoKit CoreML; do
  echo "swiftc -swift-version 6 -emit-module -parse-as-library -module-name $module -I '$work' \
    -emit-module-path '$work/$module.swiftmodule' '$here/$module.swift'"
done >"$work/modules.sh"
# As it is on iOS, but for the C library.
for module in PocketTune PocketTuneCoreML; do
  find "$sources/$module" -name '*.swift' | while read -r file; do
    sed -e 's/^\( *\)#if os(iOS)/\1#if true/; s/^\( *\)#if canImport(\(CoreGraphics\|CryptoKit\|CoreML\|ObjectiveC\))/\1#if true/' \
      -e '0,/^ *import Foundation/s/^\( *\)import Foundation/\1import DarwinFoundation\n\1import Foundation/' \
      "$file" >"$work/$module/$(basename "$file")"
  done
  echo "swiftc -swift-version 6 -warnings-as-errors -wmo -c -o '$work/$module.o' -emit-module -parse-as-library -module-name $module -I '$work' \
    -emit-module-path '$work/$module.swiftmodule' '$work/$module'/*.swift"
done >>"$work/modules.sh"
"$toolchain" run sh -e "$work/modules.sh"
