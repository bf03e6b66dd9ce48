#!/bin/sh
# Makes a debug APK of what Maven compiled, without Gradle: app/target/pockettune-demo-debug.apk.
# It has the shape of an installable one, and is signed with a key that is thrown away. It LACKS ExecuTorch's
# natives (libexecutorch.so comes with Google's Maven repository, by Gradle): the app opens, and says that it
# can't train. Needs Java and Debian's aapt, zipalign and apksigner.
set -eu
cd "$(dirname "$0")/../app/target" 2>/dev/null && [ -d libraries ] || {
  echo "nothing is compiled yet: run 'make test-kotlin', or in sdk/kotlin: mvn -pl ../../android_demo/app -am package" >&2
  exit 1
}
for tool in java keytool aapt zipalign apksigner; do
  command -v "$tool" >/dev/null || {
    echo "the APK needs $tool: install openjdk-17-jdk-headless, aapt, zipalign and apksigner" >&2
    exit 1
  }
done
rm -rf apk pockettune-demo-debug.apk
mkdir -p apk/dex

echo "== dexing"
# Robolectric's framework has no java.*: that comes from the JDK.
jdk=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.home = //p')
java -cp tools/r8.jar com.android.tools.r8.D8 --debug --min-api 29 --lib tools/framework.jar --lib "$jdk" \
  --output apk/dex pockettune-demo-app-*.jar libraries/*.jar

echo "== packing, aligning, signing"
cp resources.ap_ apk/packed.apk
(cd apk/dex && aapt add ../packed.apk classes*.dex >/dev/null)
# -p: natives, once there are any, at pages.
zipalign -f -p 4 apk/packed.apk apk/aligned.apk
keytool -genkeypair -keystore apk/debug.p12 -storetype PKCS12 -storepass android -alias debug \
  -keyalg EC -groupname secp256r1 -validity 1 -dname "CN=throw-away debug key" >/dev/null 2>&1
apksigner sign --ks apk/debug.p12 --ks-pass pass:android --min-sdk-version 29 \
  --out pockettune-demo-debug.apk apk/aligned.apk
rm apk/debug.p12

echo "== checking"
zipalign -c -p 4 pockettune-demo-debug.apk
apksigner verify --min-sdk-version 29 pockettune-demo-debug.apk
aapt dump badging pockettune-demo-debug.apk >apk/badging.txt 2>/dev/null
for fact in "package: name='org.pockettune.demo'" "sdkVersion:'29'" "launchable-activity: name='org.pockettune.demo.MainActivity'"; do
  grep -q "$fact" apk/badging.txt || {
    echo "the APK does not say $fact" >&2
    exit 1
  }
done
echo "$(pwd)/pockettune-demo-debug.apk: $(wc -c <pockettune-demo-debug.apk) bytes, $(ls apk/dex | wc -l) dex files, signed"
aapt list pockettune-demo-debug.apk | grep -q '^lib/' ||
  echo "it lacks ExecuTorch's natives: it shows its pages, but can't train (android_demo/README.md)"
