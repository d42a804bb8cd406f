#!/usr/bin/env bash
# Our matrix products beside PyTorch's, in one run on one machine: interleaved, medians, as rows of a Markdown table.
#
#   benchmarks/compare-gemm.sh PYTHON f32|bf16 [ROUNDS] [M,N,K …]      e.g. compare-gemm.sh venv/bin/python f32 3 512,768,768
#
# PYTHON has torch; a JDK 25 is found by java25.sh, or is $JAVA; build first: mvn -q -DskipTests package ($CLASSES is another class path). The bf16 figures are those of AMX where
# LLM_CPU_TIER and the processor say so.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
dtype=$2
rounds=${3:-3}
shift $(( $# < 3 ? $# : 3 ))
shapes=("${@:-512,768,768}")
[ $# -gt 0 ] || shapes=(512,768,768 2048,288,768 512,2048,2048 512,5632,2048 2048,2048,2048 128,4096,4096)
java=$(benchmarks/java25.sh)
threads=${LLM_THREADS:-2}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for ((i = 0; i < rounds; i++)); do
  "$python" benchmarks/torch_gemm.py "$dtype" 1 "$threads" "${shapes[@]}" >> "$folder/theirs"
  LLM_THREADS=$threads "$java" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED \
    -cp "${CLASSES:-benchmarks/target/benchmarks.jar}" org.llmcore.bench.Gemm "$dtype" 1 "${shapes[@]}" >> "$folder/ours"
done
median() { grep "^$2 " "$folder/$1" | cut -d' ' -f2 | sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
echo "| M, N, K ($dtype) | ours GFLOP/s | PyTorch GFLOP/s | ratio | rounds |"
echo "|---|---|---|---|---|"
for shape in "${shapes[@]}"; do
  awk -v s="${shape//,/ × }" -v a="$(median ours "$shape")" -v b="$(median theirs "$shape")" -v n="$rounds" \
    'BEGIN { printf "| %s | %.0f | %.0f | %.2f | %d |\n", s, a, b, a / b, n }'
done
