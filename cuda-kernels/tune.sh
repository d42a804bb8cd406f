#!/usr/bin/env bash
# Times variants of a kernel family on the GPU of this machine, in turn with the committed one. A variant is a change of the sources: a sed script, or a
# patch; or a folder of classes that go before the jar's.
#
#   cuda-kernels/tune.sh FAMILY CASES [ROUNDS] NAME=EDIT …
#   cuda-kernels/tune.sh matmul_hopper 'matmul forward' 3 'band16=s/8 \* across/16 * across/g;s/band \* 8,/band * 16,/;s/min(8, down/min(16, down/' stagger=cuda-kernels/variants/matmul_hopper-stagger.patch
#
# CASES are those of org.llmcore.bench.Gpu whose names contain the text; SECONDS_EACH (4) is what a round takes for them. Needs nvcc; HOME_OF names an unpacked
# portable distribution (build it by mvn -Pportable package). A variant that fails to compile is said and left out. Prints a line per case and variant: the median of the rounds
# in microseconds, and the vendor's beside them where CUDA_BLAS names its folder. Nothing in the tree changes.
set -euo pipefail
cd "$(dirname "$0")/.."
family=$1 cases=$2 rounds=3
shift 2
if [[ ${1:-} =~ ^[0-9]+$ ]]; then rounds=$1; shift; fi
home=${HOME_OF:?names an unpacked portable distribution}
checks=$(find "$home/checks" -name '*.jar' | tr '\n' ':')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=(committed)
arch=${ARCH:-sm_$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)}
[ "$arch" != sm_90 ] || arch=sm_90a
pids=()
for variant in "$@"; do
  name=${variant%%=*} edit=${variant#*=} folder=$work/${variant%%=*}
  names+=("$name")
  if [ -d "$edit" ]; then cp -r "$edit" "$folder"; pids+=(0); continue; fi
  mkdir -p "$folder/src/cuda-kernels/src/main" "$folder/org/llmcore/cuda"
  cp -r cuda-kernels/src/main/cuda "$folder/src/cuda-kernels/src/main/"
  if [ -f "$edit" ]; then patch -s -d "$folder/src" -p1 < "$edit"
  else sed -i -e "$edit" "$folder"/src/cuda-kernels/src/main/cuda/*; fi
  if diff -rq cuda-kernels/src/main/cuda "$folder/src/cuda-kernels/src/main/cuda" > /dev/null; then echo "$name changes nothing" >&2; exit 2; fi
  # what the class path has first is loaded: a cubin in the place of the fatbin
  nvcc -std=c++17 -O3 -arch="$arch" -cubin "$folder/src/cuda-kernels/src/main/cuda/$family.cu" -o "$folder/org/llmcore/cuda/$family.fatbin" \
    2> "$folder/log" &
  pids+=($!)
done
for i in "${!pids[@]}"; do
  [ "${pids[$i]}" = 0 ] || wait "${pids[$i]}" || { echo "${names[$((i + 1))]} does not compile: $(head -n 3 "$work/${names[$((i + 1))]}/log")" >&2; names[i + 1]=; }
done
for ((round = 0; round < rounds; round++)); do
  for name in "${names[@]}"; do
    [ -n "$name" ] || continue
    "$home/runtime/bin/java" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED -XX:+UseSerialGC -Xmx8g -cp "$work/$name:$home/llm-core.jar:$checks" \
      org.llmcore.bench.Gpu "${GPU_SIZE:-7b}" "${SECONDS_EACH:-4}" "kernels=$cases" 2>> "$work/err" | grep '^{' | sed "s/^/$name\t/" >> "$work/lines" || tail -n 2 "$work/err" >&2
  done
done
python3 - "$work/lines" <<'PYTHON'
import collections, json, statistics, sys
times = collections.defaultdict(list)
for line in open(sys.argv[1]):
  name, text = line.rstrip("\n").split("\t", 1)
  d = json.loads(text)
  if "micros" in d: times[d["case"], "vendor" if d["section"] == "vendor" else name].append(d["micros"])
for (case, name), all in sorted(times.items()): print(f"{case:48} {name:16} {statistics.median(all):9.1f} us   {' '.join('%.1f' % t for t in all)}")
PYTHON
