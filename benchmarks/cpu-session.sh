#!/usr/bin/env bash
# What a processor is to show, within 13 minutes by the limits of its sections: that the kernels of its tier are right on it, how near they come to its limits, and PyTorch beside them.
# For a machine that is lent by the minute and has AMX, which ours have not; it runs on any.
#
#   benchmarks/cpu-session.sh PYTHON [SECTION …]        sections: machine checks roofline gemm steps decode (all)
#
# PYTHON has torch, transformers and peft. Two cores are used, two of their own where processors share cores. Without a JDK and a build, JAVA names the java of the
# portable distribution, CLASSES its class path (llm-core.jar and checks/*.jar), and CHECK its llm-core-check.
set -uo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
sections=${*:-machine checks roofline gemm steps decode}
JAVA=$(benchmarks/java25.sh) || exit 2
export JAVA CLASSES=${CLASSES:-benchmarks/target/benchmarks.jar} LLM_THREADS=2
cores=$(lscpu -p=CPU,CORE | awk -F, '!/^#/ && !seen[$2]++ { print $1 }' | head -n 2 | paste -sd, -)
flags="--add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED"

wanted() { case " $sections " in *" $1 "*) echo "== $1 $(date +%T)";; *) return 1;; esac; }
pinned() { timeout -k 5 "$1" taskset -c "$cores" "${@:2}" || echo "exit $?: $*"; }

if wanted machine; then
  lscpu | grep -E 'Model name|^CPU\(s\)|Thread|L2|L3'
  grep -m1 ^flags /proc/cpuinfo | tr ' ' '\n' | grep -E '^(amx|avx512)_?(bf16|int8|tile|f|vnni)$' | paste -sd' ' -
  echo "on processors $cores"
fi
if wanted checks && [ -n "${CHECK:-}" ]; then
  timeout 120 "$CHECK" -c org.llmcore.cpu.code.AssemblerTest -c org.llmcore.cpu.AmxGemmTest -c org.llmcore.cpu.AttentionBf16Test -c org.llmcore.cpu.LowRankCpuTest \
    -c org.llmcore.cpu.CpuAmxContractTest 2>&1 | grep -E 'successful|failed|skipped|aborted|=>' | head -n 20
fi
wanted roofline && pinned 100 "$JAVA" $flags -Xmx3g -cp "$CLASSES" org.llmcore.bench.Roofline 110M lora bf16
wanted gemm && pinned 100 benchmarks/compare-gemm.sh "$python" bf16 3
wanted gemm && pinned 60 benchmarks/compare-gemm.sh "$python" f32 1
export OURS=bf16 PEER=bf16
wanted steps && STEPS=8 pinned 180 benchmarks/compare-torch.sh "$python" 2 110M:lora 110M:full
wanted steps && STEPS=4 pinned 120 benchmarks/compare-torch.sh "$python" 1 1.1B:lora
wanted decode && pinned 60 "$JAVA" $flags -Xmx3g -cp "$CLASSES" org.llmcore.bench.Decoding BF16 38 60
echo "== end $(date +%T)"
