#!/usr/bin/env bash
# Our training step beside PyTorch's, in one run on one machine: interleaved, medians, as rows of a Markdown table.
#
#   benchmarks/compare-torch.sh PYTHON [ROUNDS] [SHAPE:METHOD …]       e.g. compare-torch.sh venv/bin/python 3 15M:full 15M:lora
#
# PYTHON has torch, transformers and peft; `java` (or $JAVA) is a JDK 25; build first: mvn -q -DskipTests package. PEER=bf16 lets
# PyTorch compute in bf16.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
rounds=${2:-3}
shift $(( $# < 2 ? $# : 2 ))
cases=("${@:-15M:full}")
java=${JAVA:-java}
threads=${LLM_THREADS:-2}
peer=${PEER:-f32}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

echo "| shape, method | ours f32 tok/s | PyTorch $peer tok/s | ratio | rounds |"
echo "|---|---|---|---|---|"
for case in "${cases[@]}"; do
  shape=${case%%:*} method=${case##*:}
  ours=() theirs=()
  for ((i = 0; i < rounds; i++)); do
    theirs+=("$("$python" benchmarks/torch_step.py "$shape" "$peer" "$method" 7 "$threads" | sed 's/.*tokens_per_second": \([0-9.]*\).*/\1/')")
    ours+=("$(LLM_THREADS=$threads "$java" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED -Xmx3g \
      -cp benchmarks/target/benchmarks.jar org.llmcore.bench.Step "$shape" "$method" 12)")
  done
  a=$(printf '%s\n' "${ours[@]}" | median) b=$(printf '%s\n' "${theirs[@]}" | median)
  awk -v c="$shape, $method" -v a="$a" -v b="$b" -v n="$rounds" 'BEGIN { printf "| %s | %.0f | %.0f | %.2f | %d |\n", c, a, b, a / b, n }'
done
