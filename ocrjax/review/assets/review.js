"use strict";
// One word at a time. The server holds the state: after each change the page shows its answer.
const $ = (name) => document.getElementById(name);
const view = $("view"), field = $("text"), pen = view.getContext("2d");
const NEAR = 12; // a corner is grabbed within this distance, in screen pixels
let pages = [], items = [], at = 0, words = [], picture = null, shownPage = -1, frame = null;
let quad = null, drag = null, keys = 0, given = "", busy = Promise.resolve();

async function ask(place, value) {
  const options = value === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
  };
  let answer;
  try {
    answer = await fetch(place, options);
  } catch {
    throw new Error("the review is no longer running; all changes are kept. Start it again");
  }
  const found = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) {
    throw Object.assign(new Error(found.error), { status: answer.status });
  }
  return found;
}

const now = () => items[at];
const original = () => now().removed ? "" : now().text ?? "";
const offered = () => now().removed && !now().done ? now().read ?? "" : original();

async function load() {
  const found = await ask("items");
  ({ pages, items } = found);
  $("title").textContent = document.title = found.title;
}

async function show(index) {
  at = Math.min(Math.max(index, 0), items.length - 1);
  keys = 0;
  drag = null;
  if (!items.length) {
    $("why").textContent = "there are no words to review";
    return;
  }
  const item = now();
  if (item.page !== shownPage) {
    picture = new Image();
    picture.src = `picture/${item.page}`;
    await picture.decode().catch(() => say("the image cannot be read"));
    shownPage = item.page;
  }
  words = await ask(`words/${item.page}`);
  quad = item.quad.map((point) => [...point]);
  frame = null;
  field.value = given = offered();
  draw();
  tell();
  field.focus();
  field.select();
}

function tell() {
  const item = now(), done = items.filter((one) => one.done).length;
  $("count").textContent = `${at + 1} of ${items.length}; ${done} done`;
  $("where").textContent = `${pages[item.page].name}, word ${item.word + 1}`;
  $("why").textContent = item.why + (item.read === null ? "" : ` · read: ${item.read}`);
  $("state").textContent = item.removed ? (item.done ? "no word" : "no label here")
    : !item.care ? "don't care" : item.done ? "done" : "";
}

function say(text) { $("said").textContent = text; }

// The visible part of the image: the word with a margin of twice its height.
function framed() {
  if (frame) { return frame; }
  const xs = quad.map((p) => p[0]), ys = quad.map((p) => p[1]);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const around = Math.max(2 * Math.min(right - left, bottom - top), 24);
  const scale = Math.min(view.width / (right - left + 2 * around), view.height / (bottom - top + 2 * around));
  frame = { scale, x: (left + right) / 2 - view.width / scale / 2, y: (top + bottom) / 2 - view.height / scale / 2 };
  return frame;
}

const onScreen = ([x, y]) => { const f = framed(); return [(x - f.x) * f.scale, (y - f.y) * f.scale]; };
const onPage = ([x, y]) => { const f = framed(); return [x / f.scale + f.x, y / f.scale + f.y]; };

function outline(points, color, thick) {
  pen.beginPath();
  points.map(onScreen).forEach(([x, y], index) => index ? pen.lineTo(x, y) : pen.moveTo(x, y));
  pen.closePath();
  pen.strokeStyle = color;
  pen.lineWidth = thick;
  pen.stroke();
}

function draw() {
  const size = view.getBoundingClientRect();
  if (view.width !== Math.round(size.width) || view.height !== Math.round(size.height)) {
    [view.width, view.height] = [Math.round(size.width), Math.round(size.height)];
    frame = null;
  }
  pen.fillStyle = "#777";
  pen.fillRect(0, 0, view.width, view.height);
  const f = framed(), page = pages[now().page];
  if (picture && picture.naturalWidth) {
    const [x, y] = onScreen([0, 0]);
    pen.drawImage(picture, x, y, page.width * f.scale, page.height * f.scale);
  }
  for (const word of words) {
    if (!word.removed && word.word !== now().word) { outline(word.quad, word.care ? "#3a7bd5" : "#999", 1); }
  }
  outline(quad, now().removed ? "#d60" : "#0a0", 2);
  quad.map(onScreen).forEach(([x, y], index) => {
    pen.fillStyle = index ? "#0a0" : "#d02";
    pen.fillRect(x - 4, y - 4, 8, 8);
  });
  if (drag?.box) { outline(drag.box, "#d60", 2); }
}

function inside([x, y]) {
  let odd = false;
  quad.forEach(([ax, ay], index) => {
    const [bx, by] = quad[(index + 3) % 4];
    if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) { odd = !odd; }
  });
  return odd;
}

const mouse = (event) => { const r = view.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };

view.addEventListener("pointerdown", (event) => {
  if (!items.length) { return; }
  event.preventDefault();
  view.setPointerCapture(event.pointerId);
  const point = mouse(event);
  const far = quad.map(onScreen).map(([x, y]) => Math.hypot(x - point[0], y - point[1]));
  const corner = far.indexOf(Math.min(...far));
  const start = onPage(point), before = quad.map((p) => [...p]);
  drag = far[corner] <= NEAR ? { corner, start, before }
    : inside(start) ? { move: true, start, before } : { start, before, box: [start, start, start, start] };
});

view.addEventListener("pointermove", (event) => {
  if (!drag) { return; }
  const [x, y] = onPage(mouse(event)), [sx, sy] = drag.start;
  if (drag.corner !== undefined) {
    quad[drag.corner] = [x, y];
  } else if (drag.move) {
    quad = drag.before.map(([a, b]) => [a + x - sx, b + y - sy]);
  } else {
    const [l, r] = [Math.min(x, sx), Math.max(x, sx)], [t, b] = [Math.min(y, sy), Math.max(y, sy)];
    drag.box = [[l, t], [r, t], [r, b], [l, b]];
  }
  draw();
});

view.addEventListener("pointerup", () => {
  const end = drag;
  drag = null;
  field.focus();
  if (!end) { return; }
  if (end.box) {
    const [[l, t], , [r, b]] = end.box;
    if (r - l >= 1 && b - t >= 1) { change("add", { quad: end.box, text: "" }); } else { draw(); }
  } else if (quad.some((p, index) => p.some((value, axis) => value !== end.before[index][axis]))) {
    change("quad", { quad });
  }
});

// Requests run one after another: quick key presses act on the word that is shown when their turn
// comes.
function queue(work) {
  busy = busy.then(work).catch((error) => say(error.message));
}

// A drawn box belongs to the word that was shown while it was drawn.
function change(action, more = {}) {
  const { page, word } = now() ?? {};
  queue(() => {
    const same = now()?.page === page && now()?.word === word;
    return more.quad && !same ? say("another word was shown before the box was done: draw it again")
      : make(action, more);
  });
}

async function make(action, more = {}) {
  if (!items.length) { return; }
  say("");
  const item = now();
  const named = action === "undo" ? {} : action === "add" ? { page: item.page }
    : { page: item.page, word: item.word, version: item.version };
  let found;
  try {
    found = await ask("edit", { action, ...named, ...more, keys });
  } catch (error) {
    if (error.status === 409) { await load(); }
    await show(at);
    throw error;
  }
  const place = items.findIndex((one) => one.page === found.page && one.word === found.word);
  if (place >= 0) { items[place] = found; }
  if (action === "add") { items.splice(at + 1, 0, found); await show(at + 1); return; }
  if (action === "undo") { if (place >= 0) { await show(place); } else { await load(); await show(at); } return; }
  if (action === "quad") { const typed = field.value, count = keys; await show(at); field.value = typed; keys = count; return; }
  const rest = [...items.keys()];
  const next = [...rest.slice(at + 1), ...rest.slice(0, at)].find((index) => !items[index].done);
  if (next === undefined) { await show(at); say("all words are done; press Save to write them"); } else { await show(next); }
}

function enter() {
  if (!items.length) { return; }
  const text = field.value.trim().split(/\s+/).join(" ");
  if (!text) { return now().removed ? make("accept") : say("no text: press F2 for don't care or F4 for no word"); }
  return text === original() && now().care ? make("accept") : make("text", { text });
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || ["Shift", "Control", "Alt", "Meta"].includes(event.key)) { return; }
  // A key that is held down must not accept words that nobody has seen.
  if (event.repeat && ["Enter", "F2", "F4"].includes(event.key)) { event.preventDefault(); return; }
  keys += 1;
  const undo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const action = {
    Enter: () => queue(enter),
    Tab: () => { if (items.length && now().read) { field.value = now().read; } },
    F2: () => change("ignore"),
    F4: () => change("remove"),
    PageDown: () => queue(() => show(at + 1)),
    PageUp: () => queue(() => show(at - 1)),
  }[event.key] ?? (undo && field.value === offered() ? () => change("undo") : null);
  if (action) { event.preventDefault(); action(); }
});

$("save").addEventListener("click", () => {
  queue(async () => say((await ask("save", {})).said));
  field.focus();
});
window.addEventListener("resize", () => { if (items.length) { draw(); } });
// Show changes made in another tab.
window.addEventListener("focus", () => {
  queue(async () => {
    if (!items.length) { return; }
    const { page, word, version } = now();
    await load();
    at = Math.max(items.findIndex((one) => one.page === page && one.word === word), 0);
    if (now().version === version) { tell(); return; }
    // Typed text belongs to the word as it was shown: the server will refuse it, and the new state
    // of the word is shown.
    if (field.value !== given) { now().version = version; } else { await show(at); }
  });
});

queue(() => load().then(() => show(Math.max(items.findIndex((one) => !one.done), 0))));
