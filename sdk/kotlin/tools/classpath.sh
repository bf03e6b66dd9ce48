#!/usr/bin/env bash
# Prints the class path of a tool of tools/pom.xml, which Maven fetches once: tools/classpath.sh ktlint
set -euo pipefail
cd "$(dirname "$0")"
file="target/$1.classpath"
if [ ! -s "$file" ] || [ pom.xml -nt "$file" ]; then
  mkdir -p target
  mvn -q -B -P "$1" dependency:build-classpath -Dmdep.outputFile="$file" >&2
  touch "$file"
fi
cat "$file"
