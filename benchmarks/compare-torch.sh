#!/usr/bin/env bash
# Our training step beside PyTorch's, in one run on one machine: interleaved, medians, as rows of a Markdown table.
#
#   benchmarks/compare-torch.sh PYTHON [ROUNDS] [SHAPE:METHOD[:recompute] …]      e.g. compare-torch.sh venv/bin/python 3 15M:full 1.1B:lora:recompute
#
# PYTHON has torch, transformers and peft; a JDK 25 is found by java25.sh, or is $JAVA; build first: mvn -q -DskipTests package. OURS=f32|bf16-weights|bf16
# and PEER=f32|bf16 are what either computes in, STEPS how many steps a round takes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
rounds=${2:-3}
shift $(( $# < 2 ? $# : 2 ))
cases=("${@:-15M:full}")
java=$(benchmarks/java25.sh)
threads=${LLM_THREADS:-2}
ours=${OURS:-f32}
peer=${PEER:-f32}
steps=${STEPS:-12}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

echo "| shape, method | ours $ours tok/s | PyTorch $peer tok/s | ratio | peak MB, ours | PyTorch | rounds |"
echo "|---|---|---|---|---|---|---|"
for case in "${cases[@]}"; do
  IFS=: read -r shape method recompute <<< "$case:"
  recompute=${recompute%:}
  a='' b=''
  for ((i = 0; i < rounds; i++)); do
    b+=$("$python" benchmarks/torch_step.py "$shape" "$peer" "$method" $((2 + steps / 2)) "$threads" $recompute \
      | sed 's/.*tokens_per_second": \([0-9.]*\), "peak_mb": \([0-9]*\).*/\1 \2/')$'\n'
    a+=$(LLM_THREADS=$threads "$java" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED -Xmx1g \
      -cp "${CLASSES:-benchmarks/target/benchmarks.jar}" org.llmcore.bench.Step "$shape" "$method" "$steps" "$ours" $recompute)$'\n'
  done
  field() { printf %s "$1" | cut -d' ' -f"$2" | median; }
  awk -v c="$shape, $method${recompute:+, recompute}" -v a="$(field "$a" 1)" -v b="$(field "$b" 1)" -v m="$(field "$a" 2)" -v p="$(field "$b" 2)" -v n="$rounds" \
    'BEGIN { printf "| %s | %.0f | %.0f | %.2f | %d | %d | %d |\n", c, a, b, a / b, m, p, n }'
done
