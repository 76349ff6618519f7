// The ONNX files that `ocrjax export onnx` writes, run by ONNX Runtime: a detector finds words, a
// recognizer reads crops. The same steps as in read_onnx.py.

import { findBoxes } from './boxes.js';
import { gray, padRight, picture, resizeBicubic, resizeLinear, turnLeft } from './pixels.js';

const MULTIPLE = 32; // sides of the detector's input
const WIDEST = 8192; // columns of a crop
const BATCH = 8;

// What a file says about its model; an Error in words for any other file.
export function readFacts(bytes, name) {
  let metadata;
  try {
    metadata = readMetadata(bytes);
  } catch {
    throw new Error(`${name} is not an ONNX file, or a damaged one.`);
  }
  const text = metadata.get('ocrjax');
  if (text === undefined) {
    throw new Error(
      `${name} has no metadata named "ocrjax", which say how its pictures are scaled and what it ` +
        'reads. Take a file that "ocrjax export onnx" wrote, and not its _rapidocr one.',
    );
  }
  let facts;
  try {
    facts = JSON.parse(text);
  } catch {
    throw new Error(`${name}: its metadata "ocrjax" are not JSON; the file is damaged.`);
  }
  if (facts.format !== 1 || !['detector', 'recognizer'].includes(facts.network)) {
    throw new Error(
      `${name} holds a ${facts.network} of format ${facts.format}; this page knows detectors and ` +
        'recognizers of format 1.',
    );
  }
  return facts;
}

// `metadata_props` of an ONNX file, which is a protocol buffer. ONNX Runtime's JavaScript does not
// give them.
function readMetadata(bytes) {
  const found = new Map();
  for (const { number, value } of fields(bytes)) {
    if (number !== 14) continue;
    const entry = new Map([...fields(value)].map((field) => [field.number, field.value]));
    const text = (number) => new TextDecoder().decode(entry.get(number));
    found.set(text(1), text(2));
  }
  return found;
}

function* fields(bytes) {
  let at = 0;
  const integer = () => {
    for (let value = 0, share = 1; at < bytes.length && share < 2 ** 64; share *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * share;
      if (byte < 128) return value;
    }
    throw new Error('an integer does not end');
  };
  while (at < bytes.length) {
    const tag = integer();
    const kind = tag % 8;
    const start = at;
    let length = { 1: 8, 5: 4 }[kind];
    if (kind === 0) length = (integer(), at - start);
    else if (kind === 2) length = integer();
    const first = kind === 2 ? at : start;
    if (length === undefined || first + length > bytes.length) throw new Error('no such field');
    at = first + length;
    yield { number: Math.floor(tag / 8), value: bytes.subarray(first, at) };
  }
}

// Opens a model: {facts, session, name}.
export async function openModel(ort, bytes, name) {
  const facts = readFacts(bytes, name);
  try {
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
    return { facts, session, name };
  } catch (error) {
    throw new Error(`${name}: ONNX Runtime does not take it: ${error.message ?? error}`);
  }
}

export class Detector {
  constructor(ort, { facts, session }) {
    Object.assign(this, { ort, facts, session });
  }

  // The maps of an RGB picture: {region, affinity, width, height, ratio}. What is longer than
  // `canvas` pixels is shrunk.
  async score(image, canvas = this.facts.canvas_size) {
    const { facts, ort } = this;
    const longest = Math.max(image.width, image.height);
    const ratio = Math.min(facts.mag_ratio * longest, canvas) / longest;
    const width = Math.max(1, Math.trunc(image.width * ratio));
    const height = Math.max(1, Math.trunc(image.height * ratio));
    const scaled = resizeLinear(image, width, height);
    const [wide, high] = [width, height].map((side) => Math.ceil(side / MULTIPLE) * MULTIPLE);
    const padded = picture(wide, high, 3);
    for (let y = 0; y < height; y++) {
      padded.data.set(scaled.data.subarray(y * width * 3, (y + 1) * width * 3), y * wide * 3);
    }
    const images = new ort.Tensor('uint8', padded.data, [1, high, wide, 3]);
    const { scores } = await this.session.run({ images });
    const cropped = facts.border === 'crop';
    const maps = {
      width: cropped ? Math.floor(width / 2) : wide / 2,
      height: cropped ? Math.floor(height / 2) : high / 2,
      ratio,
    };
    maps.region = new Float32Array(maps.width * maps.height);
    maps.affinity = new Float32Array(maps.width * maps.height);
    for (let y = 0, to = 0; y < maps.height; y++) {
      for (let x = 0, from = y * wide; x < maps.width; x++, to++, from += 2) {
        maps.region[to] = scores.data[from];
        maps.affinity[to] = scores.data[from + 1];
      }
    }
    scores.dispose();
    return maps;
  }

  // Words in maps of `score`: [{quad, score}, ...], in pixels of the picture.
  boxes({ region, affinity, width, height, ratio }, thresholds = this.facts) {
    const factor = Math.fround(2 / ratio);
    return findBoxes(region, affinity, width, height, thresholds).map(({ quad, score }) => ({
      quad: quad.map((point) => point.map((value) => Math.fround(value * factor))),
      score,
    }));
  }
}

export class Recognizer {
  constructor(ort, { facts, session }) {
    Object.assign(this, { ort, facts, session, characters: [...facts.characters] });
  }

  // Texts of crops with how sure the network is: [{text, confidence}, ...]. `done` is told how many
  // are read, and may say true to stop.
  async read(crops, done = () => false) {
    const { facts } = this;
    let grays = crops.map(gray);
    if (facts.resize !== 'easyocr' && facts.turn_above) {
      grays = grays.map((one) => (one.height >= facts.turn_above * one.width ? turnLeft(one) : one));
    }
    const inputs = grays.map((one) => this.input(one));
    const readings = await this.run(inputs, done);
    if (facts.resize !== 'easyocr' || !readings) return readings;
    for (const [index, one] of grays.entries()) {
      if (readings[index].confidence >= facts.contrast_threshold) continue;
      // A second look at dull crops.
      const again = moreContrast(scaled(one, facts.height), facts.contrast);
      const width = Math.ceil(ratioOf(one)) * facts.height;
      const input = { image: padded(again, facts.height, width), width };
      const [second] = await this.run([input], () => false);
      if (second.confidence >= readings[index].confidence) readings[index] = second;
    }
    return readings;
  }

  // What the network is given of a crop, and how many columns of it are to be read.
  input(image) {
    const { height, resize, width: fixed } = this.facts;
    if (resize === 'fixed') return { image: resizeBicubic(image, fixed, height), width: fixed };
    const level = scaled(image, height);
    const needed = Math.ceil(height * (level.width / level.height));
    let trueWidth = Math.min(Math.max(needed, height), WIDEST);
    let width = bucket(trueWidth, height);
    if (resize === 'easyocr') trueWidth = width = Math.ceil(ratioOf(image)) * height;
    return {
      image: needed > width ? resizeBicubic(image, width, height) : padded(level, height, width),
      width: trueWidth,
    };
  }

  async run(inputs, done) {
    const groups = new Map();
    for (const [index, { image }] of inputs.entries()) {
      if (!groups.has(image.width)) groups.set(image.width, []);
      groups.get(image.width).push(index);
    }
    const readings = new Array(inputs.length);
    let count = 0;
    for (const [width, group] of groups) {
      for (let start = 0; start < group.length; start += BATCH) {
        const part = group.slice(start, start + BATCH);
        await this.runBatch(inputs, part, width, readings);
        count += part.length;
        if (await done(count)) return null;
      }
    }
    return readings;
  }

  async runBatch(inputs, part, width, readings) {
    const { ort, facts } = this;
    const size = facts.height * width;
    const data = new Uint8Array(part.length * size);
    for (const [row, index] of part.entries()) data.set(inputs[index].image.data, row * size);
    const widths = Int32Array.from(part, (index) => inputs[index].width);
    const { logits, steps } = await this.session.run({
      images: new ort.Tensor('uint8', data, [part.length, facts.height, width, 1]),
      widths: new ort.Tensor('int32', widths, [part.length]),
    });
    const [, time, classes] = logits.dims;
    for (const [row, index] of part.entries()) {
      const first = row * time * classes;
      const values = logits.data.subarray(first, first + steps.data[row] * classes);
      readings[index] = this.decode(values, classes);
    }
    logits.dispose();
    steps.dispose();
  }

  // CTC's best path: repeats merged, blanks (class 0) dropped.
  decode(logits, classes) {
    let [text, before] = ['', 0];
    let [product, inked, count] = [1, 1, 0];
    for (let at = 0; at < logits.length; at += classes) {
      let best = 0;
      for (let k = 1; k < classes; k++) if (logits[at + k] > logits[at + best]) best = k;
      let sum = 0;
      for (let k = 0; k < classes; k++) sum += Math.exp(logits[at + k] - logits[at + best]);
      product /= sum;
      if (best !== 0) {
        inked /= sum;
        count++;
        if (best !== before) text += this.characters[best - 1];
      }
      before = best;
    }
    if (this.facts.confidence === 'dtrb') return { text, confidence: product };
    return { text, confidence: count ? inked ** (2 / Math.sqrt(count)) : 0 };
  }
}

function ratioOf({ width, height }) {
  const ratio = width / height;
  return ratio < 1 ? 1 / ratio : ratio;
}

// The shorter side to the network's height.
function scaled(image, high) {
  const long = Math.trunc(high * ratioOf(image));
  return image.width < image.height
    ? resizeLinear(image, high, long)
    : resizeLinear(image, long, high);
}

// To the network's height, the last column repeated on the right.
function padded(image, high, width) {
  const level = resizeBicubic(image, Math.ceil(high * (image.width / image.height)), high);
  return padRight(level, width);
}

// The least of 1, 1.5, 2, 3, 4, 6, ... times the height that holds a width.
function bucket(width, high) {
  let least = high;
  while (least < width) {
    if (Math.floor((least * 3) / 2) >= width) return Math.floor((least * 3) / 2);
    least *= 2;
  }
  return least;
}

function moreContrast(image, target) {
  const sorted = Uint8Array.from(image.data).sort();
  const percentile = (share) => {
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    const next = sorted[Math.min(below + 1, sorted.length - 1)];
    return sorted[below] + (next - sorted[below]) * (place - below);
  };
  const [low, high] = [percentile(0.1), percentile(0.9)];
  if ((high - low) / Math.max(10, high + low) >= target) return image;
  const share = 200 / Math.max(10, high - low);
  const out = picture(image.width, image.height, 1);
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = Math.trunc(Math.min(Math.max((image.data[i] - low + 25) * share, 0), 255));
  }
  return out;
}
