#!/bin/bash
# gpu-session.sh [SECONDS]: everything worth knowing from a GPU that is lent by the minute, as JSON lines in $OUT/session.jsonl.
#
#   tar xf llm-core-*.tar.xz; OUT=results llm-core/bin/gpu-session.sh 480
#
# Needs nothing but the portable distribution: no JDK, no Maven, no compiler. Every section has a limit of its own; a section that
# fails or runs too long becomes a line, and the next begins. What others write on standard output and error is in $OUT/<section>.log.
#
#   SECONDS        budget of all sections together (480)
#   OUT            folder of the results (.)
#   GPU_SECTIONS   some of: machine checks ptx values kernels training decode peers (all)
#   GPU_SIZE       size of the benchmarks: 7b, 1b or toy (7b)
#   LLM_DATA       folder with stories260k and peft, for the published values; left out where absent
#   GPU_PEERS      folder with run_all.sh, for PyTorch beside; left out where absent
set -u
home=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd); java=$home/runtime/bin/java
budget=${1:-480}; out=${OUT:-.}; mkdir -p "$out"; lines=$out/session.jsonl; begun=$(date +%s)
sections=${GPU_SECTIONS:-machine checks ptx values kernels training decode peers}; size=${GPU_SIZE:-7b}
flags="--add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED -XX:+UseSerialGC"
checks=$(find "$home/checks" -name '*.jar' | tr '\n' ':')

left() { echo $((budget - $(date +%s) + begun)); }
wanted() { case " $sections " in *" $1 "*) return 0;; *) return 1;; esac; }
# say SECTION KEY VALUE…: a line of strings
say() {
  local line="{\"section\":\"$1\""; shift
  while [ $# -gt 1 ]; do line="$line,\"$1\":\"$(printf %s "$2" | tr '\n\t"\\' "  ''")\""; shift 2; done
  echo "$line}" | tee -a "$lines"
}
# section NAME LIMIT COMMAND…: within its limit and what is left; standard output to NAME.log
section() {
  local name=$1 limit=$2 rest code from; shift 2
  wanted "$name" || return 0
  rest=$(left); [ "$rest" -ge 5 ] || { say "$name" skipped "the budget of $budget seconds is spent"; return 0; }
  [ "$limit" -le "$rest" ] || limit=$rest
  from=$(date +%s.%N)
  timeout -k 5 "$limit" "$@" > "$out/$name.log" 2> "$out/$name.err"; code=$?
  grep -h '^{' "$out/$name.log" >> "$lines"
  say "$name" exit "$code" seconds "$(echo "$(date +%s.%N) $from" | awk '{printf "%.1f", $1 - $2}')" \
    last "$(grep -v '^{' "$out/$name.log" | grep . | tail -n 1 | cut -c1-300)" error "$([ "$code" = 0 ] || tail -n 3 "$out/$name.err" | cut -c1-400)"
  return "$code"
}

: > "$lines"
wanted machine && { nvidia-smi > "$out/nvidia-smi.txt" 2>&1; say machine gpu "$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>&1 | head -n 1)"; }
section machine 30 "$home/bin/llm-core" inspect --device
# 1. Do the kernels compute on the hardware what they compute on the host driver?
section checks 150 "$home/bin/llm-core-check"
# 2. The same with the PTX that older drivers get: this driver compiles it now.
section ptx 60 env LLM_CUDA=ptx "$home/bin/llm-core-check" -c org.llmcore.cuda.LlamaOnCudaTest -c org.llmcore.cuda.CudaQuantTest
# 3. The texts, logits, losses and gradient norms that llama2.c, transformers and PEFT give for stories260K.
[ ! -d "${LLM_DATA:-/none}/stories260k" ] || section values 60 "$home/bin/llm-core-check" -c org.llmcore.train.PublishedValuesTest
# 4. How fast?
gpu() { section "$1" "$2" "$java" $flags -Xmx8g -cp "$home/llm-core.jar:$checks" org.llmcore.bench.Gpu "$size" $(($2 - 15 > 2 ? $2 - 15 : 2)) "${@:3}"; }
gpu kernels 110 kernels
gpu training 100 training full
gpu decode 60 prefill decode
# 5. And PyTorch on the same machine?
[ ! -f "${GPU_PEERS:-/none}/run_all.sh" ] || section peers "$(left)" bash "$GPU_PEERS/run_all.sh" "$out/peers"
say end seconds "$(($(date +%s) - begun))"
