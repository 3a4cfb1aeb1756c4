// Checks every kernel with Tint, the WGSL compiler of Chrome, through Dawn for Node (the npm package `webgpu`).
//
//     node check.mjs NODE_MODULES KERNELS [run]
//
// KERNELS is the folder that this command writes:
// `ELEMGRAD_DUMP_SHADERS=KERNELS cargo test --lib kernels_are_dumped -- --ignored`.
// Tint checks each kernel; this takes no adapter. With `run`, kernels of the ops' numbers also run on Dawn's first
// adapter, on the vectors of tests/data, and every bit is compared. These are the kernels whose operands are
// contiguous and have one binding each.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [nodeModules, folder, mode] = process.argv.slice(2);
const run = mode === "run";
const { create, globals } = await import(pathToFileURL(resolve(nodeModules, "webgpu/index.js")));
Object.assign(globalThis, globals);

// Held until the end: Dawn aborts if the instance is collected before its device.
const gpu = create(run ? [] : ["backend=null"]);
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error("Dawn finds no adapter");
const device = await adapter.requestDevice();
device.addEventListener("uncapturederror", (event) => {
  throw new Error(event.error.message);
});

// The vectors: one column of bits per operand.
function columns(op, dtype) {
  const text = readFileSync(new URL(`../data/${op}_${dtype}.csv`, import.meta.url), "utf8");
  const [names, ...rows] = text.trim().split("\n").map((line) => line.split(","));
  const column = (name) => Uint32Array.from(rows, (row) => parseInt(row[names.indexOf(name)], 16));
  if (op === "mod") {
    const [x, y, dz, z, q, dy] = ["x", "y", "g", "z", "q_f32", "dy"].map(column);
    // The file has Q in f32.
    return { x, y, dz, z, dx: dz, dy, ...(dtype === "f32" ? { q } : {}) };
  }
  const [x, z, mask] = ["x", "y", "mask"].map(column);
  const dz = Uint32Array.from(x, (_, i) => Math.imul(i + 1, 0x9e3779b9) >>> (dtype === "f32" ? 0 : 16));
  return { x, dz, z, dx: dz.map((bits, i) => (mask[i] ? bits : 0)) };
}

const types = ["f32", "f16", "bf16"];
const ofType = (dtype) => ({ spiky: columns("spiky", dtype), mod: columns("mod", dtype) });
const vectors = Object.fromEntries(types.map((dtype) => [dtype, ofType(dtype)]));

// Words hold two elements of 16 bits, the first in the lower half.
const perWord = (dtype) => (dtype === "f32" ? 1 : 2);
const pack = (elements, dtype) =>
  dtype === "f32"
    ? elements
    : Uint32Array.from({ length: Math.ceil(elements.length / 2) }, (_, i) =>
        (elements[2 * i] | ((elements[2 * i + 1] ?? 0) << 16)) >>> 0,
      );
const unpack = (words, i, dtype) => (dtype === "f32" ? words[i] : (words[i >> 1] >>> (16 * (i & 1))) & 0xffff);
const isOutput = (name) => name === "z" || name === "q" || (name !== "dz" && name.startsWith("d"));

// Runs a kernel whose operands have one binding each. Returns the number of wrong elements.
async function mismatches(kernel, pipeline) {
  const rows = vectors[kernel.dtype][kernel.op];
  const length = rows.x.length - (kernel.access === "vec4" ? rows.x.length % 4 : 0);
  const buffer = (words, usage) => {
    const buffer = device.createBuffer({ size: 4 * words.length, usage, mappedAtCreation: true });
    new Uint32Array(buffer.getMappedRange()).set(words);
    buffer.unmap();
    return buffer;
  };
  const words = Math.ceil(length / perWord(kernel.dtype));
  const groups = Math.ceil(length / 1024);
  const parity = 0;
  const params = buffer([length, groups, parity, ...kernel.operands.map(() => 0)], GPUBufferUsage.UNIFORM);
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
  const operands = kernel.operands.map(([name, binding]) => {
    const unwritten = () => new Uint32Array(words).fill(0xdeadbeef);
    const held = isOutput(name) ? unwritten() : pack(rows[name].subarray(0, length), kernel.dtype);
    return { name, binding, buffer: buffer(held, storage) };
  });
  const entries = [{ binding: 0, buffer: params }, ...operands].map(({ binding, buffer }) => ({
    binding,
    resource: { buffer },
  }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(groups);
  pass.end();
  const outputs = operands.filter(({ name }) => isOutput(name));
  for (const output of outputs) {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    output.host = device.createBuffer({ size: 4 * words, usage });
    encoder.copyBufferToBuffer(output.buffer, 0, output.host, 0, 4 * words);
  }
  device.queue.submit([encoder.finish()]);
  let wrong = 0;
  for (const { name, host } of outputs) {
    await host.mapAsync(GPUMapMode.READ);
    const got = new Uint32Array(host.getMappedRange());
    const right = rows[name].subarray(0, length);
    wrong += right.filter((bits, i) => unpack(got, i, kernel.dtype) !== bits).length;
  }
  return wrong;
}

// Whether a kernel is of an op with vectors, all its operands are among them, inputs are `read`, and each operand has
// its own binding.
function apart(kernel) {
  const columns = vectors[kernel.dtype][kernel.op] ?? {};
  const known = kernel.operands.every(([name]) => name in columns);
  if (kernel.access === "other" || !known) return false;
  const kinds = kernel.operands.map(([name]) => (isOutput(name) ? "read_write" : "read"));
  return kernel.bindings.join() === ["uniform", ...kinds].join();
}

async function check(kernel) {
  const module = device.createShaderModule({ code: readFileSync(join(folder, kernel.file), "utf8") });
  const { messages } = await module.getCompilationInfo();
  const complaints = messages.filter(({ type }) => type !== "info");
  if (complaints.length > 0) return complaints.map(({ lineNum, message }) => `${lineNum}: ${message}`).join("; ");
  // A device with as few bindings as this one gets such a call in several dispatches. Tint has read the text.
  const storage = kernel.bindings.filter((kind) => kind !== "uniform").length;
  if (storage > device.limits.maxStorageBuffersPerShaderStage) return undefined;
  const compute = { module, entryPoint: "main" };
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute });
  const wrong = run ? await mismatches(kernel, pipeline) : 0;
  return wrong > 0 ? `${wrong} elements differ` : undefined;
}

const all = JSON.parse(readFileSync(join(folder, "kernels.json"), "utf8"));
const kernels = run ? all.filter(apart) : all;
if (kernels.length === 0) throw new Error("there is nothing to check");
let failed = 0;
for (const kernel of kernels) {
  const complaint = await check(kernel).catch((error) => error.message);
  if (complaint !== undefined) {
    console.error(`${kernel.file}, ${kernel.op} ${kernel.operands.join(" ")}: ${complaint}`);
    failed += 1;
  }
}
const { architecture, description } = adapter.info;
const where = run ? `run on ${architecture} ${description}` : "compiled";
console.log(`Tint: ${kernels.length} kernels ${where}, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
