// Runs the page's code on cases from standard input, and writes what it gives: for the tests of the
// Python suite, which make the cases and compare. All in JSON; pixels in base64.

import { readFileSync } from 'node:fs';

import { findBoxes } from '../page/boxes.js';
import { Detector, openModel, readFacts, Recognizer } from '../page/models.js';
import { arrange } from '../page/order.js';
import { cut, gray, picture, resizeBicubic, resizeLinear, turnLeft } from '../page/pixels.js';

const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
const floats = (text) => new Float32Array(bytes(text).buffer);
const image = ({ width, height, channels, data }) => picture(width, height, channels, bytes(data));
const written = ({ data, ...size }) => ({ ...size, data: Buffer.from(data).toString('base64') });
const file = (path) => new Uint8Array(readFileSync(path));

let ort = null;
async function model(path) {
  ort ??= await import('onnxruntime-web/wasm');
  ort.env.wasm.numThreads = 1;
  return openModel(ort, file(path), path);
}

const actions = {
  linear: (one) => written(resizeLinear(image(one.image), ...one.size)),
  bicubic: (one) => written(resizeBicubic(image(one.image), ...one.size)),
  gray: (one) => written(gray(image(one.image))),
  turn: (one) => written(turnLeft(image(one.image))),
  cut: (one) => written(cut(image(one.image), one.quad)),
  boxes: ({ region, affinity, width, height, thresholds }) =>
    findBoxes(floats(region), floats(affinity), width, height, thresholds),
  order: ({ quads }) => arrange(quads),
  facts: ({ path }) => {
    try {
      return readFacts(file(path), path);
    } catch (error) {
      return error.message;
    }
  },
  read: async ({ path, crops }) => {
    const opened = await model(path);
    return new Recognizer(ort, opened).read(crops.map(image));
  },
  detect: async ({ path, photo }) => {
    const opened = await model(path);
    const detector = new Detector(ort, opened);
    return detector.boxes(await detector.score(image(photo)));
  },
};

const cases = JSON.parse(readFileSync(0, 'utf8'));
const results = [];
for (const one of cases) results.push(await actions[one.action](one));
process.stdout.write(JSON.stringify(results));
