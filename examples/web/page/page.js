// The page: takes pictures, draws what the worker finds.

const LARGEST = 100e6; // pixels of a picture
const SIDES = [640, 960, 1280, 1920, 2560, 3840];
const QUICK = 1280; // larger sides take long: they are for whoever asks
const DOUBTFUL = 0.5; // readings less certain than this are marked
const THRESHOLDS = ['text_threshold', 'low_text', 'link_threshold'];
const STAGES = { decode: 'Open the photo', score: 'Find: the network', boxes: 'Find: boxes', read: 'Read' };

const $ = (id) => document.getElementById(id);
const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
let facts = null; // of the detector
let size = null; // of the photo
let maps = null;
let words = [];
let times = {};
let recognizer = false;

// What is still said of the photo before is left out.
const ofPhoto = ['maps', 'boxes', 'readings', 'done'];
worker.onmessage = ({ data }) => {
  if (data.of === size?.number || !ofPhoto.includes(data.type)) receive[data.type](data);
};
worker.onerror = (event) => {
  event.preventDefault();
  fail(`This page could not start: ${event.message || 'one of its files is missing'}. "npm run build" writes them all.`);
};
progress('Loading …');
worker.postMessage({ open: true });

const receive = {
  progress: ({ text, share }) => progress(text, share),
  error: ({ text }) => fail(text),
  models(all) {
    showModels([all.detector, all.recognizer]);
    recognizer = Boolean(all.recognizer);
    if (!all.fresh) return;
    facts = all.detector.facts;
    fillSettings();
  },
  maps(message) {
    ({ maps } = message);
    drawHeat();
  },
  boxes(message) {
    ({ words } = message);
    drawWords();
  },
  readings({ readings }) {
    words = words.map((word, index) => ({ ...word, ...readings[index] }));
    drawWords();
  },
  done({ times: more }) {
    $('progress').hidden = true;
    if (!more) return status(facts ? 'Ready for a photo.' : '');
    times = { ...times, ...more };
    drawTimes();
    const found = `${plural(words.length, 'word')} in ${plural(lines().length, 'line')}.`;
    status(words.length ? found : 'No words were found.');
  },
};

// ---- Pictures come in

async function take(files) {
  clearError();
  if (!files.length) return fail('No file came along. Drop a photo, choose one, or paste one.');
  const models = files.filter((file) => /\.onnx$/i.test(file.name));
  for (const file of models) {
    progress(`Loading ${file.name} …`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    worker.postMessage({ model: { name: file.name, bytes } }, [bytes.buffer]);
  }
  if (models.length < files.length) await open(files.find((file) => !models.includes(file)));
}

async function open(file) {
  const start = performance.now();
  const name = file.name || 'The clipboard';
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  } catch {
    return fail(`${name} is not a picture that this browser opens. JPEG, PNG and WebP are.`);
  }
  const { width, height } = bitmap;
  if (width * height > LARGEST) {
    return fail(`${name} has ${Math.round(width * height / 1e6)} million pixels, expected at most ${LARGEST / 1e6} million.`);
  }
  let data;
  try {
    data = pixels(bitmap);
  } catch {
    return fail(`${name}, ${width} x ${height} pixels, does not fit into the memory of this browser.`);
  }
  size = { width, height, number: (size?.number ?? 0) + 1 };
  maps = null;
  words = [];
  times = { decode: performance.now() - start };
  $('figure').hidden = $('layers').hidden = false;
  drawHeat();
  drawWords();
  drawTimes();
  progress(facts ? 'Finding words …' : 'Loading …');
  worker.postMessage({ photo: { ...size, data } }, [data.buffer]);
}

// Draws a picture, and returns its RGB.
function pixels(bitmap) {
  const { width, height } = bitmap;
  const canvas = $('photo');
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#fff'; // below what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4) {
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return data;
}

$('file').addEventListener('change', (event) => {
  take([...event.target.files]);
  event.target.value = ''; // the same file may be chosen again
});
document.addEventListener('paste', (event) => take([...(event.clipboardData?.files ?? [])]));
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragging');
});
document.addEventListener('dragleave', () => document.body.classList.remove('dragging'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  take([...(event.dataTransfer?.files ?? [])]);
});

// ---- Settings

function fillSettings() {
  for (const id of THRESHOLDS) $(id).value = facts[id];
  const own = facts.canvas_size;
  const sides = [...new Set([...SIDES, own])].sort((a, b) => a - b);
  $('canvas').replaceChildren(
    ...sides.map((side) => element('option', { value: side }, `${side} pixels${side === own ? ' (the model’s)' : ''}`)),
  );
  $('canvas').value = Math.min(own, QUICK);
  for (const id of [...THRESHOLDS, 'canvas']) $(id).disabled = false;
  showThresholds();
  send({ canvas: Number($('canvas').value), thresholds: thresholds() });
}

const thresholds = () => Object.fromEntries(THRESHOLDS.map((id) => [id, Number($(id).value)]));

function showThresholds() {
  for (const id of THRESHOLDS) $(id).nextElementSibling.value = Number($(id).value).toFixed(2);
}

function send(message) {
  if (size) clearError();
  worker.postMessage(message);
}

for (const id of THRESHOLDS) {
  $(id).addEventListener('input', () => {
    showThresholds();
    send({ thresholds: thresholds() });
  });
}
$('canvas').addEventListener('change', () => {
  if (size) progress('Finding words …');
  send({ canvas: Number($('canvas').value) });
});
$('reset').addEventListener('click', () => facts && fillSettings());
$('settings').addEventListener('submit', (event) => event.preventDefault());

// ---- Results

function drawWords() {
  $('results').hidden = !size;
  $('count').textContent = words.length ? `(${words.length})` : '';
  $('copy').hidden = !navigator.clipboard || !words.some(({ text }) => text);
  if (size) $('boxes').setAttribute('viewBox', `0 0 ${size.width} ${size.height}`);
  $('boxes').replaceChildren(...words.map(drawBox));
  $('words').replaceChildren(
    ...lines().map((line) => {
      const item = element('li', {});
      item.append(...line.map(drawWord));
      return item;
    }),
  );
}

// Words by their lines.
function lines() {
  const found = [];
  for (const word of words) (found[word.line] ??= []).push(word);
  return found;
}

function drawBox(word) {
  word.polygon = document.createElementNS('http://www.w3.org/2000/svg', 'polygon');
  word.polygon.setAttribute('points', word.quad.map((point) => point.join()).join(' '));
  word.polygon.addEventListener('click', () => word.button.focus());
  light(word.polygon, word, ['mouseenter'], ['mouseleave']);
  return word.polygon;
}

function drawWord(word) {
  const { text, confidence } = word;
  word.button = element('button', { type: 'button' });
  if (text === undefined) {
    word.button.append(element('span', { className: 'faint' }, recognizer ? '…' : 'not read'));
  } else {
    word.button.append(
      element('span', text ? {} : { className: 'faint' }, text || 'nothing read'),
      element('small', {}, `${Math.floor(confidence * 100)} %`),
    );
    word.button.classList.toggle('doubtful', confidence < DOUBTFUL);
  }
  light(word.button, word, ['mouseenter', 'focus'], ['mouseleave', 'blur']);
  return word.button;
}

// A word and its box are shown together while one of them is pointed at or has the focus.
function light(one, word, begin, end) {
  const set = (on) => [word.polygon, word.button].forEach((it) => it.classList.toggle('chosen', on));
  for (const name of begin) one.addEventListener(name, () => set(true));
  for (const name of end) one.addEventListener(name, () => set(false));
}

$('copy').addEventListener('click', async () => {
  let [text, before] = ['', 0];
  for (const line of lines()) {
    if (line[0].paragraph !== before) text += '\n';
    before = line[0].paragraph;
    text += `${line.map((word) => word.text ?? '').join(' ')}\n`;
  }
  try {
    await navigator.clipboard.writeText(text);
    status('The text is in the clipboard.');
  } catch {
    fail('This browser does not let the page write to the clipboard.');
  }
});

$('show-boxes').addEventListener('change', (event) => {
  $('boxes').style.display = event.target.checked ? '' : 'none';
});
for (const radio of document.getElementsByName('heat')) radio.addEventListener('change', drawHeat);

function drawHeat() {
  const chosen = document.querySelector('[name="heat"]:checked').value;
  const canvas = $('heat');
  canvas.hidden = !chosen || !maps;
  if (canvas.hidden) return;
  [canvas.width, canvas.height] = [maps.width, maps.height];
  // A pixel of the map is two of the scaled photo.
  canvas.style.width = `${((maps.width * 2) / maps.ratio / size.width) * 100}%`;
  canvas.style.height = `${((maps.height * 2) / maps.ratio / size.height) * 100}%`;
  const image = new ImageData(maps.width, maps.height);
  for (const [i, value] of maps[chosen].entries()) image.data.set(heat(value), 4 * i);
  canvas.getContext('2d').putImageData(image, 0, 0);
}

// Dark blue, over violet and orange, to yellow.
function heat(value) {
  const v = Math.min(Math.max(value, 0), 1);
  const color = [Math.min(1, 2 * v), Math.max(0, 1.6 * v - 0.6), Math.max(0, 0.55 - Math.abs(v - 0.3))];
  return [...color.map((part) => 255 * part), 130 + 80 * v];
}

function drawTimes() {
  const rows = Object.entries(STAGES).filter(([stage]) => times[stage] !== undefined);
  $('times').hidden = !rows.length;
  $('times').querySelector('tbody').replaceChildren(
    ...rows.map(([stage, name]) => {
      const row = element('tr', {});
      row.append(element('td', {}, name), element('td', {}, duration(times[stage])));
      return row;
    }),
  );
}

function showModels(all) {
  $('models').hidden = !all.some(Boolean);
  $('models').querySelector('ul').replaceChildren(
    ...all.filter(Boolean).map(({ name, size: bytes, facts: { network, charset } }) =>
      element('li', {}, `${name}: ${network}${charset ? `, charset ${charset}` : ''}, ${(bytes / 1e6).toFixed(1)} MB`),
    ),
  );
}

// ---- Small things

function element(name, properties, text = '') {
  const one = Object.assign(document.createElement(name), properties);
  if (text) one.textContent = text;
  return one;
}

function progress(text, share) {
  status(text);
  $('progress').hidden = false;
  if (share === undefined) $('progress').removeAttribute('value');
  else $('progress').value = share;
}

function status(text) {
  $('status').textContent = text;
}

function fail(text) {
  $('progress').hidden = true;
  status('');
  $('error').textContent = text;
  $('error').hidden = false;
}

function clearError() {
  $('error').hidden = true;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function duration(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
