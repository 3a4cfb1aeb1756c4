"""Counts a kernel's machine instructions per element, on the common path of an NVIDIA GPU. No GPU is needed.

    elemgrad shader mod --pass fused --access vec4 > k.wgsl
    python benches/isa/sass.py k.wgsl [K.wgsl ..] [--arch sm_90]

Needs naga (cargo install naga-cli) and, from PyPI, nvidia-cuda-nvrtc-cu12 and triton (for its disassembler). naga turns
the WGSL into Metal; search and replace turns that into CUDA. So the result is what a driver makes of the WGSL, except
for the driver's own choices. The common path is the longest path that enters no function whose name ends in _rare.
Loops are unrolled: a sum has STEPS steps. If a workgroup works together, the counts are means over the paths of its
warps. ALU instructions issue at half the rate of all, XU instructions at an eighth. With SASS=FILE, the last path goes
to FILE.
"""
import argparse, collections, ctypes, glob, importlib.util, os, re, subprocess, sys, tempfile

ELEMENTS = 4  # per invocation and step
STEPS = 4  # per invocation that adds the terms of a sum
WARPS = 8  # per workgroup
PIPES = {
    "fma": r"IMAD|FFMA|FMUL|FADD",
    "xu": r"MUFU|F2I$|F2I\.|I2F$|I2F\.|FLO|POPC",
    "memory": r"LD|ST|ULD|S2|ATOM|BAR",
    "branch": r"BRA|BSSY|BSYNC|EXIT|CALL|RET|BREAK|NOP|WARPSYNC",
}


def package(name, pattern):
    """A file of a Python package, without importing it."""
    spec = importlib.util.find_spec(name)
    found = [f for p in spec.submodule_search_locations for f in glob.glob(os.path.join(p, pattern))] if spec else []
    return found[0] if found else sys.exit(f"{name} is not installed, or has no {pattern}")


def cuda(wgsl, folder):
    metal = os.path.join(folder, "k.metal")
    subprocess.run(["naga", wgsl, metal], check=True, stdout=subprocess.DEVNULL)
    text = re.sub(r"#include.*|using metal::uint;", "", open(metal).read())
    text = re.sub(r"(?<![\w.])(\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+)(?![\w.])", r"\1f", text)
    text = re.sub(r"^constant ", "static constexpr ", text, flags=re.M)
    text = re.sub(r"\buint2\b", "uint2_", text)
    # In Metal, an array without a length has length 1 and is passed by reference. Here it is a pointer.
    text = re.sub(r"^typedef (\S+) (type_\d+)\[1\];", r"typedef \1 \2;", text, flags=re.M)
    text = re.sub(r"device (type_\d+)( const)?& (\w+)", r"\1\2* __restrict__ \3", text)
    text = re.sub(r"\bconstant (\w+&)", r"const \1", text)
    # A loop, with the code that naga runs before each turn but the first. The bound, which no loop reaches, is left
    # out.
    text = re.sub(
        r"(?:uint2_ (loop_bound\w*) = [^;]*;\s*)?bool (loop_init\w*) = true;\s*while\(true\) \{"
        r"(?:\s*if [^\n]*\1[^\n]*\s*\1 -=[^\n]*)?"
        r"\s*if \(!\2\) \{(.*?)\}\s*\2 = false;",
        r"for (;; [&] {\3}()) {", text, flags=re.S)
    functions, kernel = text.split("kernel void main_(")
    kernel = kernel.replace("for (;;", "#pragma unroll\nfor (;;").replace("params.steps", f"{STEPS}u")
    functions = re.sub(r"^([\w:]+ \w+\()", r"__device__ __forceinline__ \1", functions, flags=re.M)
    functions = re.sub(r"(_rare\([^)]*\) \{)", r'\1 asm volatile("pmevent 7;");', functions)
    parameters, body = kernel.split(") {", 1)
    pointers = re.findall(r"type_\d+(?: const)?\* __restrict__ \w+", parameters)
    shared = re.findall(r"threadgroup (type_\d+)& (\w+)", parameters)
    if shared:  # wgpu is told not to zero it
        body = re.sub(
            r"\A\s*if \(lane == 0u\) \{.*?\n    \}\s*metal::threadgroup_barrier\(.*?\);", "", body, flags=re.S)
    prelude = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prelude.cuh")
    return (
        open(prelude).read() + functions
        + f'extern "C" __global__ void __launch_bounds__(256) main_(const Params params, {", ".join(pointers)}) {{'
        + "uint3 workgroup = {blockIdx.x, blockIdx.y, blockIdx.z}; uint lane = threadIdx.x;"
        + "\n#ifdef WARP\n__builtin_assume(lane >= 32 * WARP); __builtin_assume(lane < 32 * WARP + 32);\n#endif\n"
        + "".join(f"__shared__ {ty} {name};" for ty, name in shared)
        + "_mslBufferSizes _buffer_sizes = {};" + body
    ), bool(shared)


def compile(source, *options):
    nvrtc = ctypes.CDLL(package("nvidia", "cuda_nvrtc/lib/libnvrtc.so.*"))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, None, None)
    options = [o.encode() for o in (*options, "-use_fast_math", "-w")]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    what = "ProgramLog" if failed else "CUBIN"
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    out = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, out)
    return sys.exit(out.value.decode()) if failed else out.raw


def common_path(sass):
    """The instructions from entry to exit, and whether they contain a loop."""
    code, labels = [], {}
    for line in sass.splitlines():
        if label := re.match(r"(\.L_\w+):", line.strip()):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?);", line):
            code.append((bool(found[1]), found[2], found[3], line))

    def successors(i):
        predicated, op, operands, _ = code[i]
        target = re.search(r"`\((\.L_\w+)\)", operands)
        jump = [labels[target[1]]] if op.startswith("BRA") else []
        ends = op.startswith(("BRA", "EXIT", "RET")) and not predicated and not re.match(r"!?U?P\d", operands)
        return jump + ([] if ends or i + 1 == len(code) else [i + 1])

    best, active, loops = {}, set(), []

    def walk(i):
        """The length of the longest path from here and its next instruction, or None if all paths are rare."""
        if code[i][1].startswith("PMTRIG"):
            return None
        if i in active:
            loops.append(i)
            return None
        if i not in best:
            active.add(i)
            ways = [(way[0] + 1, s) for s in successors(i) if (way := walk(s))]
            best[i] = max(ways, default=(1, None) if code[i][1].startswith("EXIT") else None)
            active.remove(i)
        return best[i]

    sys.setrecursionlimit(100_000)
    at, path = 0 if walk(0) else sys.exit("every path is rare"), []
    while at is not None:
        path.append(code[at])
        at = best[at][1]
    return path, bool(loops)


def count(wgsl, architecture):
    with tempfile.TemporaryDirectory() as folder:
        source, shared = cuda(wgsl, folder)
        paths, loop = [], False
        for define in [f"-DWARP={w}" for w in range(WARPS)] if shared else ["-DONE"]:
            cubin = os.path.join(folder, "k.cubin")
            open(cubin, "wb").write(compile(source, f"--gpu-architecture={architecture}", define))
            nvdisasm = package("triton", "backends/nvidia/bin/nvdisasm")
            sass = subprocess.run([nvdisasm, "-c", cubin], check=True, capture_output=True, text=True).stdout
            path, loops = common_path(sass)
            paths.append(path)
            loop |= loops
    if "SASS" in os.environ:
        open(os.environ["SASS"], "w").write("\n".join(line for *_, line in paths[0]) + "\n")
    pipe = lambda op: next((p for p, pattern in PIPES.items() if re.match(pattern, op)), "alu")
    counts = collections.Counter(pipe(op) for path in paths for _, op, *_ in path)
    per = len(paths) * ELEMENTS * (STEPS if f"{STEPS}u" in source and "waiting_0_" in source else 1)
    each = ", ".join(f"{p} {counts[p] / per:.2f}" for p in ("alu", *PIPES))
    wide = sorted({op for path in paths for _, op, *_ in path if op.startswith(("LDG", "STG"))})
    total = sum(counts.values()) / per
    print(f"{os.path.basename(wgsl)}: {total:.2f} ({each}); {' '.join(wide)}{'; a loop' if loop else ''}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wgsl", nargs="+")
    parser.add_argument("--arch", default="sm_90")
    arguments = parser.parse_args()
    for wgsl in arguments.wgsl:
        count(wgsl, arguments.arch)


main()
