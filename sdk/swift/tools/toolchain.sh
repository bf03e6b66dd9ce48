#!/usr/bin/env bash
# Swift on Linux, out of Debian's own packages, in a folder of the user's cache.
#
#   toolchain.sh ready           exit 0 when it can be used without setting anything up
#   toolchain.sh setup           make it (about 75 s and 2.7 GB, once)
#   toolchain.sh stage FOLDER    put the C ABI library and the ExecuTorch libraries it needs into FOLDER/lib
#   toolchain.sh run CMD...      run CMD in sdk/swift; the repository has the same path inside, all else is Debian's
#
# POCKETTUNE_SWIFT_ROOT: the folder. POCKETTUNE_SWIFT_ENV: "NAME=VALUE ..." for CMD. Needs Linux, root (chroot), and
# apt; nothing stays mounted, however CMD ends.
set -euo pipefail

package=$(cd "$(dirname "$0")/.." && pwd)
repository=$(cd "$package/../.." && pwd)
root=${POCKETTUNE_SWIFT_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/pockettune/swift-root}
suite=trixie  # Debian's first release with Swift 6
packages="swiftlang swiftlang-dev libc6-dev g++ libssl-dev ca-certificates"
wanted="$suite $packages"

is_ready() { [ "$(cat "$root/.ready" 2>/dev/null)" = "$wanted" ]; }

mirror() { # the one that apt uses on this machine
  {
    sed -n 's/^URIs: *\([^ ]*debian\)\/\{0,1\}$/\1/p' /etc/apt/sources.list.d/*.sources
    sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([a-z]*:[^ ]*debian\)\/\{0,1\} .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
  } 2>/dev/null | head -n 1
}

# inside FOLDER CMD...: CMD in the root. Mounts and processes live in namespaces of their own, which end with it.
inside() {
  setpriv --pdeathsig KILL unshare --mount --pid --propagation private --fork --kill-child -- bash -ec '
    root=$1 folder=$2 shown=$3 variables=$4
    shift 4
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    if [ -n "$shown" ]; then
      mkdir -p "$root$shown"
      mount --bind "$shown" "$root$shown"
    fi
    exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin $variables \
      sh -c "cd \"\$0\" && exec \"\$@\"" "$folder" "$@"
  ' inside "$root" "$1" "${shown:-}" "${POCKETTUNE_SWIFT_ENV:-}" "${@:2}"
}

setup() {
  mkdir -p "$(dirname "$root")"
  exec 9>"$root.lock"
  flock 9
  if is_ready; then return; fi
  echo "== setting up Swift in $root (once; 2.7 GB)" >&2
  if ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap
  fi
  if [ ! -e "$root/.base" ]; then # debootstrap cannot go on where it stopped
    if grep -q " $root/" /proc/mounts; then
      echo "something is mounted under $root: unmount it first" >&2
      exit 1
    fi
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase "$suite" "$root" "$(mirror)" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
    touch "$root/.base"
  fi
  for settings in /etc/apt/apt.conf.d/*prox*; do
    if [ -e "$settings" ]; then cp "$settings" "$root/etc/apt/apt.conf.d/"; fi
  done
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # packages must not start services
  chmod +x "$root/usr/sbin/policy-rc.d"
  inside / env DEBIAN_FRONTEND=noninteractive sh -ec "
    apt-get -o Acquire::Retries=3 update -qq
    apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends $packages
    apt-get clean" >>"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
  echo "$wanted" >"$root/.ready"
}

stage() {
  local runtime
  runtime=$("$repository/.venv/bin/python" -c \
    'import importlib.util as u; print(u.find_spec("executorch").submodule_search_locations[0])')
  mkdir -p "$1/lib"
  # The library looks beside itself ($ORIGIN) for the others.
  cp -u "$repository/build/native/libpockettune_engine.so" "$1/lib/"
  cp -u "$runtime"/lib/libexecutorch{,_threadpool,_kernels_optimized,_kernels_quantized,_backend_xnnpack}.so "$1/lib/"
}

case "${1:-}" in
  ready) is_ready ;;
  setup) setup ;;
  stage) stage "$2" ;;
  run)
    shift
    setup
    exec 9>&-
    shown=$repository
    inside "$package" "$@"
    ;;
  *)
    sed -n '2,11p' "$0" >&2
    exit 2
    ;;
esac
