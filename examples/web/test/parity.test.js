// The page's code and read_onnx.py on the same pixels, with the same models.
//
//     python test/expected.py --crops DIR --photos DIR
//     npm test

import assert from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Detector, openModel, Recognizer } from '../page/models.js';
import { cut, picture } from '../page/pixels.js';

const PIXELS = 1; // that corners may lie apart
const folder = new URL('../expected/', import.meta.url);
const missing =
  !existsSync(new URL('../node_modules/onnxruntime-web', import.meta.url)) ?
    'needs "npm install"'
  : !existsSync(new URL('expected.json', folder)) ? 'needs "python test/expected.py ..."'
  : false;

async function load() {
  const ort = await import('onnxruntime-web/wasm');
  ort.env.wasm.numThreads = 1;
  const expected = JSON.parse(readFileSync(new URL('expected.json', folder)));
  const pixels = new Uint8Array(readFileSync(new URL('pixels.bin', folder)));
  const take = ({ first, width, height }) =>
    picture(width, height, 3, pixels.subarray(first, first + width * height * 3));
  const open = (path) => openModel(ort, new Uint8Array(readFileSync(path)), path);
  const recognizer = new Recognizer(ort, await open(expected.recognizer));
  const detector = new Detector(ort, await open(expected.detector));
  return { expected, take, detector, recognizer };
}

test('reads crops and finds words as read_onnx.py does', { skip: missing }, async (t) => {
  const { expected, take, detector, recognizer } = await load();

  await t.test('crops', async () => {
    const start = performance.now();
    const readings = await recognizer.read(expected.crops.map(take));
    const each = (performance.now() - start) / readings.length;
    const other = expected.crops.flatMap(({ text }, i) =>
      readings[i].text === text ? [] : [`${text} ${readings[i].text}`],
    );
    const apart = expected.crops.map(({ confidence }, i) =>
      Math.abs(readings[i].confidence - confidence),
    );
    t.diagnostic(
      `${readings.length - other.length} of ${readings.length} crops read the same; confidences ` +
        `within ${Math.max(...apart).toExponential(1)}; ${each.toFixed(0)} ms each`,
    );
    assert.deepStrictEqual(other, []);
    assert.ok(Math.max(...apart) < 0.01);
  });

  await t.test('photos', async () => {
    const counts = { boxes: 0, equal: 0, texts: 0 };
    let [largest, milliseconds] = [0, 0];
    for (const photo of expected.photos) {
      const image = take(photo);
      const start = performance.now();
      const words = detector.boxes(await detector.score(image));
      milliseconds += performance.now() - start;
      assert.strictEqual(words.length, photo.words.length, `words of ${photo.name}`);
      const texts = await recognizer.read(words.map(({ quad }) => cut(image, quad)));
      for (const [i, { quad, text }] of photo.words.entries()) {
        const apart = Math.max(
          ...quad.flatMap((point, k) => point.map((v, axis) => Math.abs(v - words[i].quad[k][axis]))),
        );
        counts.boxes++;
        if (apart === 0) counts.equal++;
        if (text === texts[i].text) counts.texts++;
        else t.diagnostic(`${photo.name}: ${text} there, ${texts[i].text} here`);
        largest = Math.max(largest, apart);
      }
    }
    t.diagnostic(
      `${counts.boxes} boxes of ${expected.photos.length} photos: ${counts.equal} equal, all ` +
        `within ${largest.toExponential(1)} pixels; ${counts.texts} texts the same; ` +
        `${(milliseconds / expected.photos.length / 1000).toFixed(1)} s a photo`,
    );
    assert.ok(largest <= PIXELS);
    assert.ok(counts.texts >= 0.99 * counts.boxes);
  });
});
