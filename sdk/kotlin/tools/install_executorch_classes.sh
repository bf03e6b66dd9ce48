#!/bin/sh
# Installs the official org.pytorch.executorch Java classes into the local Maven repository, where the
# build finds them as org.pytorch:executorch-android-classes. Apps take the same classes, with natives
# for their phones, from the AAR that their own Gradle build names; a desktop JVM takes the natives of
# host-jni. Needs npm and Maven; does nothing when the classes are there already.
set -eu

package=react-native-executorch
version=0.8.5
digest=24df12b3557751d275228584d3a159ad4294561eeabca1372cca7b9a7eca712f
group=org.pytorch
artifact=executorch-android-classes

if [ -f "$HOME/.m2/repository/org/pytorch/$artifact/$version/$artifact-$version.jar" ]; then
  exit 0
fi
for tool in npm mvn; do
  command -v "$tool" >/dev/null || {
    echo "the ExecuTorch Java classes need $tool: install it" >&2
    exit 1
  }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
archive=$(npm pack --silent --ignore-scripts "$package@$version")
tar -xzf "$archive" package/android/libs/classes.jar
echo "$digest  package/android/libs/classes.jar" | sha256sum --check --status || {
  echo "the classes in $package@$version are not those that were reviewed" >&2
  exit 1
}
mvn -q -B -Dstyle.color=never install:install-file -Dfile=package/android/libs/classes.jar \
  -DgroupId="$group" -DartifactId="$artifact" -Dversion="$version" -Dpackaging=jar
