#!/usr/bin/env bash
# Measures one GPU in one run: what it is, whether its bits are right, how fast its kernels are.
#
#   benches/gpu.sh [ELEMGRAD]
#
# ELEMGRAD is the command, by default target/release/elemgrad. Results go to the folder $OUT (gpu-report). $ELEMENTS
# is the number of elements of each call (268435456: operands of 1 GiB in f32, some 12 GiB of host memory). $DEVICE is
# the device (gpu). Every step runs, whatever the others return. The last line of output is the worst exit code.
set -uo pipefail
elemgrad=${1:-target/release/elemgrad}
out=${OUT:-gpu-report}
device=${DEVICE:-gpu}
elements=${ELEMENTS:-268435456}
mkdir -p "$out"
worst=0

# step FILE SUBCOMMAND...: runs the subcommand on the device and keeps what it prints.
step() {
    local file=$1 code=0
    shift
    "$elemgrad" "$@" --device "$device" --json | tee "$out/$file.json" || code=$?
    [ "$code" -eq 0 ] || echo "elemgrad $*: exit $code" >&2
    [ "$code" -le "$worst" ] || worst=$code
}

step info info
step bench bench --elements "$elements"
step bench-types bench --elements "$elements" --dtype all --data ordinary
step bench-layouts bench mod --elements "$elements" --layout all --data ordinary
step bench-extras bench --elements "$elements" --extra all --data ordinary
step verify-spiky verify spiky --exhaustive
step verify-mod verify mod --pairs 1000000000
for dtype in f16 bf16; do
    for op in spiky mod; do
        step "verify-$op-$dtype" verify "$op" --dtype "$dtype" --exhaustive
    done
done
# The building blocks in exact arithmetic, and the built-in ops made of them.
for block in abs floor ceil round trunc sqrt spiky; do
    step "verify-exact-$block" verify --expr "$block(x)" --arithmetic exact --exhaustive
done
step verify-exact-sum verify --expr 'x + y' --arithmetic exact --pairs 1000000000
step verify-exact-difference verify --expr 'x - y' --arithmetic exact --pairs 1000000000
step verify-exact-product verify --expr 'x * y' --arithmetic exact --pairs 1000000000
step verify-exact-quotient verify --expr 'x / y' --arithmetic exact --pairs 1000000000
step verify-exact-less verify --expr 'select(x, y, x < y || x == -y)' --arithmetic exact --pairs 1000000000
for block in min max floor_mod floor_quotient trunc_mod; do
    step "verify-exact-$block" verify --expr "$block(x, y)" --arithmetic exact --pairs 1000000000
done
# The results of native arithmetic must lie within their bounds.
for block in sqrt log; do
    step "verify-native-$block" verify --expr "$block(abs(x))" --pairs 100000000
done
for block in exp sin cos tanh; do
    step "verify-native-$block" verify --expr "$block(x)" --pairs 100000000
done
step verify-native-pow verify --expr 'pow(abs(x), y)' --pairs 100000000
step verify-native-arithmetic verify --expr '(x * y + 1.0) / (abs(x) + 2.0) - y' --pairs 100000000
for arithmetic in native exact; do
    step "bench-spiky-$arithmetic" bench --expr 'spiky(x)' --arithmetic "$arithmetic" --elements "$elements" --dtype all
    step "bench-mod-$arithmetic" bench --expr 'floor_mod(x, y)' --arithmetic "$arithmetic" --elements "$elements" \
        --dtype all
done
echo "exit $worst"
exit "$worst"
