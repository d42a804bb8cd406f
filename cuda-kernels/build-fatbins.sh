#!/bin/sh
# build-fatbins.sh: compiles every src/main/cuda/*.cu into the resources that the jar carries. Needs nvcc 13 and fatbinary; run it after
# every change of a .cu or .cuh (a test fails by name until then) and commit what it writes. Output is the same byte for byte wherever
# it runs.
#
#   <family>.fatbin   machine code for sm_80 (also runs on 8.6 and 8.9) and sm_90a, and PTX compute_80 for newer GPUs
#   <family>.ptx      the same PTX, for drivers older than CUDA 13 (from 12.0), which cannot read this compiler's fatbins
#   manifest.txt      hashes of sources and artefacts, compiler, kernels
#   registers.txt     registers, shared memory and spills of every kernel and architecture; a spill fails the build
#
# A file that includes hopper.cuh or attention_hopper.cuh is compiled for sm_90a alone.
set -eu
cd "$(dirname "$0")"
src=src/main/cuda; out=src/main/resources/org/llmcore/cuda; tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
mkdir -p "$out"; rm -f "$out"/*.fatbin "$out"/*.ptx "$out"/manifest.txt "$out"/registers.txt
flags="-std=c++17 -O3 -Werror all-warnings -Xptxas -v,-warn-spills"

{ printf 'compiler '; nvcc --version | tail -1; } > "$out/manifest.txt"
for f in $src/*.cu $src/*.cuh; do echo "source $(basename "$f") $(sha256sum < "$f" | cut -d' ' -f1)"; done >> "$out/manifest.txt"

# report FILE ARCH < output of nvcc: one line per kernel
report() {
  awk -v where="$1 $2" '
    /Compiling entry function/ { split($0, part, "\047"); kernel = part[2] }
    /Function properties for/ { of = $NF } # also of functions that a kernel calls: a spill there fails the build by -warn-spills
    /bytes stack frame/ && of == kernel { sub(/^ */, ""); stack = $0 }
    /: Used/ { sub(/.*: Used /, ""); print where, kernel, stack, $0 }'
}
for f in $src/*.cu; do
  k=$(basename "$f" .cu); images=; have=
  arches="80 90a"; grep -q '#include ".*hopper.cuh"' "$f" && arches="90a"
  for a in $arches; do
    nvcc $flags -arch=sm_$a -cubin "$f" -o "$tmp/$k.$a.cubin" 2> "$tmp/log" || { cat "$tmp/log"; exit 1; }
    # ptxas only informs of these: each wgmma would wait for the one before; a fence is missing and was put in
    if grep -e 'wgmma.mma_async instructions are serialized' -e 'warpgroup.arrive is injected' "$tmp/log" >&2; then exit 1; fi
    report "$k" "sm_$a" < "$tmp/log" >> "$out/registers.txt"
    images="$images --image3=kind=elf,sm=$a,file=$tmp/$k.$a.cubin"; have="$have sm_$a"
  done
  # Drivers refuse PTX of a newer dialect than their own. Everything we use exists since 8.0 (driver 525); ptxas is the judge.
  p=${arches%% *}; [ "$p" = 90a ] && dialect=8.0 || dialect=7.1
  nvcc $flags -arch=compute_$p -ptx "$f" -o "$tmp/$k.ptx"
  sed -e "s/^\.version .*/.version $dialect/" -e '/^\/\//d' "$tmp/$k.ptx" > "$out/$k.ptx"
  ptxas -arch=sm_$p "$out/$k.ptx" -o "$tmp/check.cubin"
  if [ "$p" = 80 ]; then images="$images --image3=kind=ptx,sm=80,file=$out/$k.ptx"; have="$have compute_80"; fi
  fatbinary --create="$out/$k.fatbin" -64 --compress-mode=none $images
  for x in fatbin ptx; do
    [ $x = ptx ] && have=" compute_$p"
    echo "artefact $k.$x $(sha256sum < "$out/$k.$x" | cut -d' ' -f1)$have" >> "$out/manifest.txt"
  done
  sed -n "s/^EXPORT_KERNEL(\(.*\))/kernel \1 $k/p" "$f" >> "$out/manifest.txt"
done
if grep -v ' 0 bytes spill stores' "$out/registers.txt"; then echo "these kernels spill registers" >&2; exit 1; fi
echo "$(ls "$out"/*.fatbin | wc -l) families, $(grep -c '^kernel' "$out/manifest.txt") kernels, $(cat "$out"/*.fatbin | wc -c) bytes of fatbins"
