// Words put in reading order: lines, paragraphs, columns; the same as ocrcore/reading_order.py,
// which tells how.

import { roundEven } from './pixels.js';

const GAP = 1.5; // between words of a line, in heights of the lower one
const OVERLAP = 0.5; // that words of a line may lie over each other, in these heights
const SHIFT = 0.5; // of the middles of words of a line, in these heights
const WORD_HEIGHTS = 0.5; // of words of a line: the lower one over the higher one
const LINE_HEIGHTS = 0.65; // the same of lines of a paragraph
const LEADING = 1.0; // gap between lines of a paragraph, in heights of the lower one
const COVERED = 0.3; // of the shorter line of a paragraph by its neighbor
const LEVEL = 1.5; // width over height from which on a word shows its direction

// Places of quads in reading order: [{index, line, paragraph}, ...].
export function arrange(quads) {
  if (!quads.length) return [];
  const words = quads.map(([a, b, c, d]) => {
    const along = [(b[0] - a[0] + c[0] - d[0]) / 2, (b[1] - a[1] + c[1] - d[1]) / 2];
    const down = [(d[0] - a[0] + c[0] - b[0]) / 2, (d[1] - a[1] + c[1] - b[1]) / 2];
    const [length, height] = [Math.hypot(...along), Math.hypot(...down)];
    // A short word says little about its direction.
    const level = length >= LEVEL * height;
    const weight = level ? length : 1e-3 * length + 1e-6;
    return { height, level, weight, angle: degrees(Math.atan2(along[1], along[0])) };
  });
  const main = mainAngle(words);
  const shares = [0, 0, 0, 0];
  for (const word of words) {
    const off = word.angle - main;
    word.quarter = modulo(roundEven(off / 90), 4);
    word.slope = word.level ? Math.tan(radians(modulo(off + 45, 90) - 45)) : 0;
    shares[word.quarter] += word.weight;
  }
  const places = [];
  let line = 0;
  let paragraph = 0;
  for (const quarter of [0, 1, 2, 3].sort((a, b) => shares[b] - shares[a] || a - b)) {
    const members = words.flatMap((word, index) => (word.quarter === quarter ? [index] : []));
    const boxes = members.map((index) => inFrame(quads[index], words[index], main + 90 * quarter));
    const lines = chains(boxes, lineCost);
    const lineBoxes = lines.map((group) => around(boxes, group));
    const paragraphs = chains(lineBoxes, paragraphCost);
    for (const one of inOrder(paragraphs.map((group) => around(lineBoxes, group)))) {
      for (const number of paragraphs[one]) {
        for (const index of lines[number]) places.push({ index: members[index], line, paragraph });
        line++;
      }
      paragraph++;
    }
  }
  return places;
}

const degrees = (angle) => (angle * 180) / Math.PI;
const radians = (angle) => (angle * Math.PI) / 180;
const modulo = (value, by) => ((value % by) + by) % by;

// The direction of most text, in degrees: the weighted median around the densest quarter.
function mainAngle(words) {
  const counts = new Array(360).fill(0);
  for (const { angle, weight } of words) counts[Math.min(Math.floor(modulo(angle, 360)), 359)] += weight;
  let [best, most] = [0, -1];
  for (let start = 0; start < 360; start++) {
    let sum = 0;
    for (let k = 0; k < 90; k++) sum += counts[(start + k) % 360];
    if (sum > most * (1 + 1e-12)) [best, most] = [start, sum];
  }
  const center = best + 45;
  const near = words
    .map(({ angle, weight }) => ({ off: modulo(angle - center + 180, 360) - 180, weight }))
    .filter(({ off }) => Math.abs(off) <= 45)
    .sort((one, two) => one.off - two.off);
  const total = near.reduce((sum, { weight }) => sum + weight, 0);
  let sum = 0;
  for (const { off, weight } of near) {
    sum += weight;
    if (sum >= total / 2) return center + off;
  }
  return center;
}

// A word in the frame of the text, turned back so that text of this direction runs to the right.
function inFrame(quad, { height, slope }, angle) {
  const [cos, sin] = [Math.cos(radians(angle)), Math.sin(radians(angle))];
  const x = quad.map((point) => point[0] * cos + point[1] * sin);
  const y = quad.map((point) => point[1] * cos - point[0] * sin);
  return {
    left: (x[0] + x[3]) / 2,
    right: (x[1] + x[2]) / 2,
    middle: (y[0] + y[1] + y[2] + y[3]) / 4,
    height: Math.max(height, 1e-6),
    slope,
  };
}

// The box around a group of boxes.
function around(boxes, group) {
  const of = group.map((index) => boxes[index]);
  const top = Math.min(...of.map((box) => box.middle - box.height / 2));
  const bottom = Math.max(...of.map((box) => box.middle + box.height / 2));
  return {
    left: Math.min(...of.map((box) => box.left)),
    right: Math.max(...of.map((box) => box.right)),
    middle: (top + bottom) / 2,
    height: bottom - top,
    slope: 0,
  };
}

// Of a word as the next one in a line; Infinity where it cannot be.
function lineCost(one, two) {
  const low = Math.min(one.height, two.height);
  const gap = two.left - one.right;
  const step = (two.left + two.right) / 2 - (one.left + one.right) / 2;
  const width = one.right - one.left;
  const share = width / Math.max(width + two.right - two.left, 1e-6);
  const slope = share * one.slope + (1 - share) * two.slope;
  const shift = Math.abs(two.middle - one.middle - slope * step);
  const fits =
    low >= WORD_HEIGHTS * Math.max(one.height, two.height) &&
    step > 0 &&
    shift <= SHIFT * low &&
    gap <= GAP * low &&
    gap >= -OVERLAP * low;
  return fits ? gap + OVERLAP * low + 2 * shift : Infinity;
}

// Of a line as the next one in a paragraph; Infinity where it cannot be.
function paragraphCost(one, two) {
  const low = Math.min(one.height, two.height);
  const step = two.middle - one.middle;
  const gap = step - (one.height + two.height) / 2;
  const shorter = Math.min(one.right - one.left, two.right - two.left);
  const fits =
    low >= LINE_HEIGHTS * Math.max(one.height, two.height) &&
    step > 0 &&
    gap <= LEADING * low &&
    gap >= -OVERLAP * low &&
    covered(one, two) >= COVERED * shorter;
  return fits ? step : Infinity;
}

// How far two boxes lie over each other, seen from above; negative beside each other.
function covered(one, two) {
  return Math.min(one.right, two.right) - Math.max(one.left, two.left);
}

// Links each with its cheapest follower, where it is that one's cheapest predecessor.
function chains(boxes, cost) {
  const count = boxes.length;
  const after = new Array(count).fill(0);
  const before = new Array(count).fill(0);
  const least = new Array(count).fill(Infinity);
  const best = new Array(count).fill(Infinity);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < count; k++) {
      const value = cost(boxes[i], boxes[k]);
      if (value < least[i]) [least[i], after[i]] = [value, k];
      if (value < best[k]) [best[k], before[k]] = [value, i];
    }
  }
  const follows = new Map();
  for (let i = 0; i < count; i++) {
    if (before[after[i]] === i && least[i] < Infinity) follows.set(i, after[i]);
  }
  const following = new Set(follows.values());
  const found = [];
  for (let start = 0; start < count; start++) {
    if (following.has(start)) continue;
    const chain = [start];
    while (follows.has(chain.at(-1))) chain.push(follows.get(chain.at(-1)));
    found.push(chain);
  }
  return found;
}

// The order in which paragraphs are read.
function inOrder(boxes) {
  const count = boxes.length;
  const table = (value) => boxes.map((one) => boxes.map((two) => value(one, two)));
  const above = table((one, two) => covered(one, two) > 0 && one.middle < two.middle);
  // Paths of two steps down: something between the two lies under the one and over the other.
  const between = above.map((row) =>
    boxes.map((_, k) => row.some((steps, middle) => steps && above[middle][k])),
  );
  const first = boxes.map((one, i) =>
    boxes.map(
      (two, k) => above[i][k] || (one.right <= two.left && !between[i][k] && !between[k][i]),
    ),
  );
  const waiting = boxes.map((_, k) => first.filter((row) => row[k]).length);
  const left = new Set(boxes.keys());
  const order = [];
  while (left.size) {
    // Where all wait for each other, the one that waits for the fewest, then the topmost.
    let chosen = null;
    for (const i of left) {
      const ahead =
        chosen === null ||
        waiting[i] < waiting[chosen] ||
        (waiting[i] === waiting[chosen] && boxes[i].middle < boxes[chosen].middle);
      if (ahead) chosen = i;
    }
    order.push(chosen);
    left.delete(chosen);
    for (let k = 0; k < count; k++) if (first[chosen][k]) waiting[k]--;
  }
  return order;
}
