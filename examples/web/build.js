// Puts the page, ONNX Runtime and the two models into dist/, which any web server can offer.
//
//     node build.js [--detector FILE] [--recognizer FILE] [--out FOLDER]

import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { readFacts } from './page/models.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const runtime = join(here, 'node_modules', 'onnxruntime-web', 'dist');
const RUNTIME = ['ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm'];

function stop(text) {
  console.error(`build.js: ${text}`);
  process.exit(1);
}

const { values } = parseArgs({
  options: {
    detector: { type: 'string', default: join(here, 'models', 'detector_float16.onnx') },
    recognizer: { type: 'string', default: join(here, 'models', 'recognizer_float16.onnx') },
    out: { type: 'string', default: join(here, 'dist') },
  },
});
const { out } = values;

if (!existsSync(runtime)) stop('ONNX Runtime is missing: run "npm install" first');
for (const network of ['detector', 'recognizer']) {
  const path = values[network];
  if (!existsSync(path)) {
    stop(`${path} is missing: write it with "ocrjax export onnx" (README.md), or name a file with --${network}`);
  }
  let facts;
  try {
    facts = readFacts(new Uint8Array(readFileSync(path)), path);
  } catch (error) {
    stop(error.message);
  }
  if (facts.network !== network) stop(`${path} is a ${facts.network}, expected a ${network}`);
}

cpSync(join(here, 'page'), out, { recursive: true });
for (const name of RUNTIME) copyFileSync(join(runtime, name), join(out, name));
mkdirSync(join(out, 'models'), { recursive: true });
for (const network of ['detector', 'recognizer']) {
  copyFileSync(values[network], join(out, 'models', `${network}.onnx`));
  console.log(`${network}: ${(statSync(values[network]).size / 1e6).toFixed(1)} MB of ${values[network]}`);
}
console.log(`written: ${out}`);
