#!/bin/sh
# host-driver.sh: a driver and the kernels for a machine without a GPU, unchecked and so several times faster than in the tests:
#   cuda-kernels/host-driver.sh java -jar llm-core.jar train --device cuda
# HC_VERSION, HC_DEVICES, HC_CAPABILITY, HC_INIT and HC_MEMORY pretend another machine. Needs g++ on Linux.
set -eu
root=$(cd "$(dirname "$0")" && pwd); out=$root/target/host-driver; run=$root/src/test/cuda; src=$root/src/main/cuda
mkdir -p "$out"
flags="-std=c++17 -O2 -fPIC -Wno-unknown-pragmas -fvisibility=hidden -march=native -shared -I$run -I$src"
# stale TARGET SOURCE…: whether it is missing or older than one of these
stale() { target=$1; shift; [ ! -e "$target" ] || [ -n "$(find "$@" -newer "$target")" ]; }
if stale "$out/libcuda.so.1" "$run"/*.h "$run"/*.cpp; then g++ $flags -Wl,-soname,libcuda.so.1 "$run/hostcuda.cpp" "$run/hostdriver.cpp" -o "$out/libcuda.so.1" -ldl; fi
for f in "$src"/*.cu; do
  so=$out/$(basename "$f" .cu).so
  if stale "$so" "$run"/*.h "$src"/*.cuh "$f"; then g++ $flags -nostartfiles -x c++ "$f" -x none "$out/libcuda.so.1" -o "$so"; fi
done
export HC_KERNELS="$out" LD_LIBRARY_PATH="$out${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
[ $# = 0 ] || exec "$@"
