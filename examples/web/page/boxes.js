// From CRAFT's two maps to boxes around words: the same as `find_boxes` of read_onnx.py.

const MIN_AREA = 10; // pixels of a word in the maps

// Words in maps of `width` x `height` float32: [{quad: [[x, y], ...], score}, ...], row by row.
//
// Pixels above `low_text` or `link_threshold` form components; the rectangle of least area around
// a component's text, dilated by an amount that follows from its size, is the word's.
export function findBoxes(region, affinity, width, height, thresholds) {
  const lowText = Math.fround(thresholds.low_text);
  const link = Math.fround(thresholds.link_threshold);
  const textThreshold = Math.fround(thresholds.text_threshold);
  const waiting = new Uint8Array(width * height);
  for (let i = 0; i < waiting.length; i++) {
    waiting[i] = region[i] > lowText || affinity[i] > link ? 1 : 0;
  }
  const found = [];
  const stack = [];
  for (let start = 0; start < waiting.length; start++) {
    if (!waiting[start]) continue;
    let [left, right, top, bottom, area] = [width, -1, height, -1, 0];
    let score = -Infinity;
    const word = []; // pixels of text
    waiting[start] = 0;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const x = at % width;
      const y = (at - x) / width;
      area++;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
      if (region[at] > lowText) {
        word.push(at);
        score = Math.max(score, region[at]);
      }
      for (const [next, there] of [
        [at - 1, x > 0],
        [at + 1, x < width - 1],
        [at - width, y > 0],
        [at + width, y < height - 1],
      ]) {
        if (there && waiting[next]) {
          waiting[next] = 0;
          stack.push(next);
        }
      }
    }
    if (area < MIN_AREA || score < textThreshold) continue;
    const [wide, high] = [right - left + 1, bottom - top + 1];
    const grow = Math.trunc(Math.sqrt((area * Math.min(wide, high)) / (wide * high)) * 2);
    found.push({ quad: rectangle(dilated(word, grow, width, height)), score });
  }
  return found;
}

// Corners of the dilated pixels, row by row: of a row only the ends can be corners of the hull.
//
// A rectangle of 1 + grow pixels reaches half of them to either side; of an odd number the one more
// is on the right and below.
function dilated(word, grow, width, height) {
  const before = Math.floor(grow / 2);
  const after = Math.floor((grow + 1) / 2);
  const rows = new Map(); // first and last column
  for (const at of word) {
    const x = at % width;
    const y = (at - x) / width;
    const row = rows.get(y);
    if (!row) rows.set(y, [x, x]);
    else if (x < row[0]) row[0] = x;
    else if (x > row[1]) row[1] = x;
  }
  const ends = new Map();
  for (const [y, [first, last]] of rows) {
    const left = Math.max(first - before, 0);
    const right = Math.min(last + after, width - 1);
    for (const row of [Math.max(y - before, 0), Math.min(y + after, height - 1)]) {
      const end = ends.get(row);
      if (!end) ends.set(row, [left, right]);
      else ends.set(row, [Math.min(end[0], left), Math.max(end[1], right)]);
    }
  }
  return [...ends.keys()].sort((a, b) => a - b).flatMap((y) => [
    [ends.get(y)[0], y],
    [ends.get(y)[1], y],
  ]);
}

// The quad around points, clockwise from the top left.
function rectangle(points) {
  let quad = leastRectangle(hull(points));
  // What is about as wide as high may come out as a diamond: an upright rectangle instead.
  const side = (a, b) => Math.hypot(quad[a][0] - quad[b][0], quad[a][1] - quad[b][1]);
  const [one, two] = [side(0, 1), side(1, 2)];
  if (Math.abs(1 - Math.max(one, two) / (Math.min(one, two) + 1e-5)) <= 0.1) {
    const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
    const [x0, y0, x1, y1] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    quad = [
      [x0, y0],
      [x1, y0],
      [x1, y1],
      [x0, y1],
    ];
  }
  let first = 0; // of a slant of 45 degrees the left one
  for (let i = 1; i < 4; i++) {
    const apart = quad[i][0] + quad[i][1] - quad[first][0] - quad[first][1];
    if (apart < -1e-4 || (apart < 1e-4 && quad[i][0] < quad[first][0])) first = i;
  }
  return [...quad.slice(first), ...quad.slice(0, first)].map((point) => point.map(Math.fround));
}

// The convex hull, clockwise on the screen (A. M. Andrew's chains).
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const chain = (all) => {
    const kept = [];
    for (const point of all) {
      while (kept.length > 1 && turn(kept.at(-2), kept.at(-1), point) <= 0) kept.pop();
      kept.push(point);
    }
    return kept;
  };
  const upper = chain(sorted);
  const lower = chain(sorted.reverse());
  const corners = [...upper.slice(0, -1), ...lower.slice(0, -1)];
  return corners.length ? corners : [points[0]];
}

function turn(a, b, c) {
  return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]);
}

// The rectangle of least area has a side along one of the hull's (G. Toussaint's calipers).
//
// Of equally small ones OpenCV takes the last as it turns from level on, and rounds to float32 as
// it goes; so does this.
function leastRectangle(corners) {
  if (corners.length < 3) {
    const [one, two] = [corners[0], corners.at(-1)];
    return [one, two, two, one];
  }
  const r = Math.fround;
  const sides = corners.map(([x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % corners.length];
    const [dx, dy] = [nextX - x, nextY - y];
    const share = r(1 / Math.sqrt(dx * dx + dy * dy));
    // Turned by quarters until it points to the right, or down to the right.
    let [a, b] = [r(dx * share), r(dy * share)];
    let [ix, iy] = [dx, dy];
    while (!(ix > 0 && iy >= 0)) {
      [a, b] = [b, -a];
      [ix, iy] = [iy, -ix];
    }
    return { a, b, slope: iy / ix };
  });
  sides.sort((one, two) => one.slope - two.slope);
  if (sides[0].slope === 0) sides.push(sides[0]); // comes round again after a quarter turn
  let best = null;
  for (const { a, b } of sides) {
    const along = extremes(corners, a, b);
    const down = extremes(corners, -b, a);
    const across = (from, to, p, q) =>
      r(r((to[0] - from[0]) * p) + r((to[1] - from[1]) * q));
    const width = across(along.least, along.most, a, b);
    const height = across(down.least, down.most, -b, a);
    const area = r(width * height);
    if (best === null || area <= best.area) best = { area, a, b, along, down };
  }
  const { a, b, along, down } = best;
  const corner = ([px, py], [qx, qy]) => {
    const [u, v] = [px * a + py * b, -qx * b + qy * a];
    const norm = a * a + b * b;
    return [(u * a - v * b) / norm, (u * b + v * a) / norm];
  };
  return [
    corner(along.least, down.least),
    corner(along.most, down.least),
    corner(along.most, down.most),
    corner(along.least, down.most),
  ];
}

function extremes(corners, a, b) {
  let [least, most] = [corners[0], corners[0]];
  for (const point of corners) {
    const value = point[0] * a + point[1] * b;
    if (value < least[0] * a + least[1] * b) least = point;
    if (value > most[0] * a + most[1] * b) most = point;
  }
  return { least, most };
}
