#!/usr/bin/env bash
# The API's pages by Dokka: docs.sh FOLDER, with a folder for each module. Fails for a link that leads nowhere, and for a
# public declaration without a sentence; enums have some that the compiler writes.
set -euo pipefail
out=$(realpath -m "${1:?where to}")
cd "$(dirname "$0")/.."
modules=(core engine-executorch android)
tools/install_executorch_classes.sh
said=$(mvn -B -Dstyle.color=never -P docs -pl "$(IFS=,; echo "${modules[*]}")" -am -DskipTests package dokka:dokka) ||
  { tail -n 40 <<<"$said" >&2; exit 1; }
written='Undocumented: .*/\(values/#/\|valueOf/#kotlin.String/\|entries/#/\) '
if grep '^\[WARNING\] ' <<<"$said" | grep -v "$written" >&2; then exit 1; fi
mkdir -p "$out"
for module in "${modules[@]}"; do
  rm -rf "${out:?}/$module"
  cp -r "$module/target/dokka" "$out/$module"
done
