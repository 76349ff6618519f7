// All that takes long, away from the page, so that it stays responsive: models, scores, boxes,
// readings. Messages in: {open}, {photo}, {thresholds}, {canvas}, {model}. Messages out have a
// `type`: models, maps, boxes, readings, progress, done, error; and `of`, the number of the photo.

import * as ort from './ort.wasm.bundle.min.mjs';

import { Detector, openModel, Recognizer } from './models.js';
import { arrange } from './order.js';
import { cut, picture } from './pixels.js';

ort.env.wasm.numThreads = 1;
ort.env.wasm.proxy = false;
ort.env.wasm.wasmPaths = { wasm: new URL('ort-wasm-simd-threaded.wasm', import.meta.url).href };

const networks = { detector: null, recognizer: null };
let photo = null;
let maps = null;
let known = new Map(); // readings of this photo by quad
let settings = { canvas: 0, thresholds: null };
let wanted = null; // what is to be done next: {open, score, models}
let working = false;

onmessage = ({ data }) => {
  const next = (wanted ??= { models: [] });
  if (data.open) next.open = true;
  if (data.model) next.models.push(data.model);
  if (data.thresholds) settings.thresholds = data.thresholds;
  if (data.canvas) settings.canvas = data.canvas;
  if (data.photo) {
    const { number, width, height, data: pixels } = data.photo;
    photo = { number, ...picture(width, height, 3, pixels) };
    known = new Map();
  }
  if (data.canvas || data.photo) next.score = true;
  work();
};

async function work() {
  if (working) return;
  working = true;
  while (wanted) {
    const job = wanted;
    wanted = null;
    await tried(() => run(job));
  }
  working = false;
}

async function tried(action) {
  try {
    await action();
  } catch (error) {
    tell('error', { text: inWords(error) });
  }
}

function inWords(error) {
  const text = error?.message ?? String(error);
  if (typeof error === 'number' || /bad_alloc|memory|allocat|out of bounds/i.test(text)) {
    return `The browser ran out of memory. Choose a smaller longest side. (${text})`;
  }
  return text;
}

async function run(job) {
  const before = networks.detector;
  if (job.open) {
    for (const network of Object.keys(networks)) await tried(() => openOwn(network));
  }
  for (const { name, bytes } of job.models) {
    await tried(async () => use(await openModel(ort, bytes, name), bytes));
  }
  const fresh = networks.detector !== before;
  if (job.open || job.models.length) tellModels(fresh);
  if (!photo) return tell('done');
  if (!networks.detector) throw new Error('There is no detector to find words with: drop one here.');
  if (!settings.canvas) return; // the page will answer a fresh detector with its settings
  const times = {};
  if (job.score || !maps) {
    maps = null;
    tell('progress', { text: 'Finding words …' });
    await pause();
    times.score = await timed(async () => {
      maps = await networks.detector.score(photo, settings.canvas);
    });
    if (wanted?.score) return;
    tell('maps', { maps });
  }
  let words = [];
  times.boxes = await timed(() => {
    words = networks.detector.boxes(maps, settings.thresholds);
    words = arrange(words.map(({ quad }) => quad)).map((place) => ({
      ...words[place.index],
      line: place.line,
      paragraph: place.paragraph,
    }));
  });
  tell('boxes', { words: words.map((word) => ({ ...word, ...known.get(key(word)) })) });
  times.read = await timed(() => read(words));
  if (!wanted) tell('done', { times });
}

// Reads words that are not known yet; ends early where something else is wanted.
async function read(words) {
  const { recognizer } = networks;
  const own = known; // another photo brings another
  const fresh = words.flatMap((word, index) => (own.has(key(word)) ? [] : [index]));
  if (!recognizer || !fresh.length) return;
  const crops = fresh.map((index) => cut(photo, words[index].quad));
  const readings = await recognizer.read(crops, async (count) => {
    tell('progress', { text: 'Reading …', share: count / fresh.length });
    await pause();
    return wanted !== null;
  });
  if (!readings) return;
  for (const [i, index] of fresh.entries()) own.set(key(words[index]), readings[i]);
  tell('readings', { readings: words.map((word) => own.get(key(word))) });
}

const key = ({ quad }) => quad.flat().join();

async function openOwn(network) {
  const name = `models/${network}.onnx`;
  tell('progress', { text: `Loading the ${network} …` });
  let answer;
  try {
    answer = await fetch(name);
  } catch {
    answer = { ok: false, status: 'the server does not answer' };
  }
  if (!answer.ok) {
    throw new Error(
      `The model ${name} is missing (${answer.status}). Put it there with "ocrjax export onnx" and ` +
        '"npm run build", or drop an ONNX file here.',
    );
  }
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const model = await openModel(ort, bytes, name);
  if (model.facts.network !== network) {
    throw new Error(`${name} is a ${model.facts.network}, expected a ${network}.`);
  }
  await use(model, bytes);
}

async function use(model, bytes) {
  const { network } = model.facts;
  await networks[network]?.session.release();
  networks[network] = network === 'detector' ? new Detector(ort, model) : new Recognizer(ort, model);
  Object.assign(networks[network], { name: model.name, size: bytes.length });
  known = new Map();
  if (network === 'detector') {
    maps = null;
    settings = { canvas: 0, thresholds: null };
  }
}

function tellModels(fresh) {
  const of = (one) => one && { name: one.name, size: one.size, facts: one.facts };
  const { detector, recognizer } = networks;
  tell('models', { fresh, detector: of(detector), recognizer: of(recognizer) });
}

function tell(type, message = {}) {
  postMessage({ type, of: photo?.number, ...message });
}

async function timed(action) {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

// Lets messages come in.
function pause() {
  return new Promise((resolve) => setTimeout(resolve));
}
