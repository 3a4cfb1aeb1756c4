#!/usr/bin/env bash
# All there is to know of one GPU, in one run: what it is, whether its bits are right, how fast its kernels are.
#
#   benches/gpu.sh [ELEMGRAD]     the command, by default target/release/elemgrad; results go to the folder $OUT (gpu-report)
set -euo pipefail
elemgrad=${1:-target/release/elemgrad}
out=${OUT:-gpu-report}
device=${DEVICE:-gpu}
mkdir -p "$out"

"$elemgrad" info --device "$device" --json > "$out/info.json"
"$elemgrad" bench --elements 268435456 --device "$device" --json | tee "$out/bench.json"
"$elemgrad" bench --elements 268435456 --dtype all --layout all --extra all --data ordinary --device "$device" --json |
    tee "$out/bench-all.json"
"$elemgrad" verify spiky --exhaustive --device "$device" --json | tee "$out/verify-spiky.json"
"$elemgrad" verify mod --pairs 1000000000 --device "$device" --json | tee "$out/verify-mod.json"
for dtype in f16 bf16; do
    for op in spiky mod; do
        "$elemgrad" verify "$op" --dtype "$dtype" --exhaustive --device "$device" --json | tee "$out/verify-$op-$dtype.json"
    done
done
