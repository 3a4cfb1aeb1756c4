// Every kernel through Tint, the WGSL compiler of Chrome, by way of Dawn for Node (the npm package `webgpu`).
//
//     node check.mjs NODE_MODULES KERNELS
//
// KERNELS is what `ELEMGRAD_DUMP_SHADERS=KERNELS cargo test --test shaders` writes. Tint checks each kernel; those whose
// operands have a binding each also become pipelines and run on the vectors of tests/data, compared on bits.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [nodeModules, folder] = process.argv.slice(2);
const { create, globals } = await import(pathToFileURL(resolve(nodeModules, "webgpu/index.js")));
Object.assign(globalThis, globals);

// Held to the end: Dawn aborts where the instance is collected before its device.
const gpu = create([]);
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error("Dawn finds no adapter");
const device = await adapter.requestDevice();
device.addEventListener("uncapturederror", (event) => {
  throw new Error(event.error.message);
});

// The vectors: a column of bits for each operand.
function columns(op) {
  const text = readFileSync(new URL(`../data/${op}_f32.csv`, import.meta.url), "utf8");
  const [names, ...rows] = text.trim().split("\n").map((line) => line.split(","));
  const column = (name) => Uint32Array.from(rows, (row) => parseInt(row[names.indexOf(name)], 16));
  if (op === "mod") {
    const [x, y, dz, z, dy] = ["x", "y", "g", "z", "dy"].map(column);
    return { x, y, dz, z, dx: dz, dy };
  }
  const [x, z, mask] = ["x", "y", "mask"].map(column);
  const dz = Uint32Array.from(x, (_, i) => Math.imul(i + 1, 0x9e3779b9));
  return { x, dz, z, dx: dz.map((bits, i) => (mask[i] ? bits : 0)) };
}

const vectors = { spiky: columns("spiky"), mod: columns("mod") };
const isOutput = (name) => name === "z" || (name !== "dz" && name.startsWith("d"));

// Runs a kernel whose operands have a binding each, and returns how many elements it got wrong.
async function mismatches(kernel, pipeline) {
  const rows = vectors[kernel.op];
  const length = rows.x.length - (kernel.access === "vec4" ? rows.x.length % 4 : 0);
  const buffer = (words, usage) => {
    const buffer = device.createBuffer({ size: 4 * words.length, usage, mappedAtCreation: true });
    new Uint32Array(buffer.getMappedRange()).set(words);
    buffer.unmap();
    return buffer;
  };
  const groups = Math.ceil(length / 1024);
  const params = buffer([length, groups, ...kernel.operands.map(() => 0)], GPUBufferUsage.UNIFORM);
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
  const operands = kernel.operands.map(([name, binding]) => {
    const words = isOutput(name) ? new Uint32Array(length).fill(0xdeadbeef) : rows[name].subarray(0, length);
    return { name, binding, buffer: buffer(words, storage) };
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
    output.host = device.createBuffer({ size: 4 * length, usage });
    encoder.copyBufferToBuffer(output.buffer, 0, output.host, 0, 4 * length);
  }
  device.queue.submit([encoder.finish()]);
  let wrong = 0;
  for (const { name, host } of outputs) {
    await host.mapAsync(GPUMapMode.READ);
    const got = new Uint32Array(host.getMappedRange());
    wrong += got.filter((bits, i) => bits !== rows[name][i]).length;
  }
  return wrong;
}

let [run, failed] = [0, 0];
const kernels = JSON.parse(readFileSync(join(folder, "kernels.json"), "utf8"));
for (const kernel of kernels) {
  const fail = (reason) => {
    console.error(`${kernel.file}, ${kernel.op} ${kernel.operands.join(" ")}: ${reason}`);
    failed += 1;
  };
  const module = device.createShaderModule({ code: readFileSync(join(folder, kernel.file), "utf8") });
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter(({ type }) => type !== "info").map(({ lineNum, message }) => `${lineNum}: ${message}`);
  if (errors.length > 0) {
    fail(errors.join("; "));
    continue;
  }
  // Inputs `read`, and a binding for each operand: the kernels of buffers that are all different.
  const kinds = kernel.operands.map(([name]) => (isOutput(name) ? "read_write" : "read"));
  if (kernel.bindings.join() !== ["uniform", ...kinds].join()) continue;
  try {
    const descriptor = { layout: "auto", compute: { module, entryPoint: "main" } };
    const wrong = await mismatches(kernel, await device.createComputePipelineAsync(descriptor));
    if (wrong > 0) fail(`${wrong} elements differ`);
    run += 1;
  } catch (error) {
    fail(error.message);
  }
}
const { vendor, architecture, device: name, description } = adapter.info;
const where = [vendor, architecture, name, description].filter(Boolean).join(" ");
console.log(`Tint: ${kernels.length} kernels, ${run} of them run on ${where}, ${failed} failed`);
if (kernels.length === 0 || run === 0) throw new Error("nothing was checked");
process.exit(failed > 0 ? 1 : 0);
