#!/bin/sh
# assemble.sh FOLDER ROOT VERSION: puts jar, start scripts and licences beside the runtime, packs all as llm-core-VERSION-SYSTEM.tar.xz at the root.
set -eu
folder=$1; root=$2; version=$3; here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder/bin"
cp "$root/llm-core.jar" "$folder/"
cp "$root/benchmarks/target/benchmarks-$version.jar" "$folder/checks/bench.jar"
cp "$here/llm-core" "$here/llm-core-check" "$folder/bin/"
cp "$root/benchmarks/gpu-session.sh" "$folder/bin/"
chmod +x "$folder"/bin/*
"$folder/bin/llm-core" --version > /dev/null   # what does not start is not packed
system=$(uname -s | tr A-Z a-z)-$(uname -m)
archive=$root/llm-core-$version-$system.tar.xz
tar -C "$(dirname "$folder")" --owner=0 --group=0 --numeric-owner --sort=name --mtime=2026-01-01 -cf - "$(basename "$folder")" | xz -6 -T0 > "$archive"
echo "$archive: $(($(wc -c < "$archive") / 1000000)) MB"
