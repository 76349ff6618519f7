// Pictures: scaled, made gray, cut out. The values are those of OpenCV and Pillow, so that the
// networks see here what they see in Python.
//
// A picture is {width, height, channels, data}: rows of uint8, channels of a pixel side by side.

export function picture(width, height, channels, data = null) {
  return { width, height, channels, data: data ?? new Uint8Array(width * height * channels) };
}

// Python's round(): halves go to the even neighbor.
export function roundEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

// OpenCV's INTER_LINEAR of uint8: weights of 11 bits, and a value that is cut twice on the way.
export function resizeLinear(image, width, height) {
  if (image.width === width && image.height === height) return image;
  const { channels, data } = image;
  const across = linearPlaces(image.width, width, true);
  const down = linearPlaces(image.height, height, false);
  const out = picture(width, height, channels);
  const stride = image.width * channels;
  const rows = new Map(); // scaled to the new width, of the row in the picture
  const scaledRow = (y) => {
    let row = rows.get(y);
    if (row) return row;
    row = new Int32Array(width * channels);
    for (let x = 0, at = 0; x < width; x++) {
      const first = y * stride + across.first[x] * channels;
      const second = y * stride + across.second[x] * channels;
      const near = across.near[x];
      const far = across.far[x];
      for (let c = 0; c < channels; c++, at++) {
        row[at] = (data[first + c] * near + data[second + c] * far) >> 4;
      }
    }
    if (rows.size > 3) rows.delete(rows.keys().next().value);
    rows.set(y, row);
    return row;
  };
  for (let y = 0, at = 0; y < height; y++) {
    const one = scaledRow(down.first[y]);
    const two = scaledRow(down.second[y]);
    const near = down.near[y];
    const far = down.far[y];
    for (let x = 0; x < one.length; x++, at++) {
      out.data[at] = (((one[x] * near) >> 16) + ((two[x] * far) >> 16) + 2) >> 2;
    }
  }
  return out;
}

function linearPlaces(before, after, clipped) {
  const scale = 1 / (after / before);
  const places = {
    first: new Int32Array(after),
    second: new Int32Array(after),
    near: new Int32Array(after),
    far: new Int32Array(after),
  };
  for (let i = 0; i < after; i++) {
    const place = Math.fround((i + 0.5) * scale - 0.5);
    let first = Math.floor(place);
    let far = Math.fround(place - first);
    if (clipped && (first < 0 || first >= before - 1)) {
      first = Math.min(Math.max(first, 0), before - 1);
      far = 0;
    }
    places.first[i] = Math.min(Math.max(first, 0), before - 1);
    places.second[i] = Math.min(Math.max(first + 1, 0), before - 1);
    places.near[i] = roundEven(Math.fround(1 - far) * 2048);
    places.far[i] = roundEven(far * 2048);
  }
  return places;
}

// OpenCV's gray of RGB.
export function gray(image) {
  if (image.channels === 1) return image;
  const out = picture(image.width, image.height, 1);
  for (let i = 0, at = 0; i < out.data.length; i++, at += image.channels) {
    const [r, g, b] = [image.data[at], image.data[at + 1], image.data[at + 2]];
    out.data[i] = (r * 9798 + g * 19235 + b * 3735 + 16384) >> 15;
  }
  return out;
}

// A gray picture scaled as Pillow's BICUBIC, which takes the mean of what it shrinks.
export function resizeBicubic(image, width, height) {
  const passes = [
    [1, width],
    [0, height],
  ];
  // Pillow begins with the rows where that leaves less to do.
  if (height < image.height && height * image.width < image.height * width) passes.reverse();
  let out = image;
  for (const [axis, size] of passes) {
    if ((axis ? out.width : out.height) !== size) out = cubicPass(out, axis, size);
  }
  return out;
}

function cubicPass(image, axis, size) {
  const before = axis ? image.width : image.height;
  const step = axis ? 1 : image.width; // between the values of a sum
  const out = axis ? picture(size, image.height, 1) : picture(image.width, size, 1);
  const lines = axis ? image.height : image.width;
  for (let i = 0; i < size; i++) {
    const { first, weights } = cubicWeights(before, size, i);
    for (let line = 0; line < lines; line++) {
      let at = axis ? line * image.width + first : first * image.width + line;
      let sum = 0;
      for (let k = 0; k < weights.length; k++, at += step) sum += image.data[at] * weights[k];
      const value = Math.min(Math.max(Math.floor(sum + 0.5), 0), 255);
      out.data[axis ? line * size + i : i * image.width + line] = value;
    }
  }
  return out;
}

// Keys' cubic with a = -.5, as wide as what becomes one pixel.
function cubicWeights(before, after, i) {
  const scale = before / after;
  const spread = Math.max(scale, 1);
  const center = (i + 0.5) * scale;
  const first = Math.max(Math.trunc(center - 2 * spread + 0.5), 0);
  const last = Math.min(Math.trunc(center + 2 * spread + 0.5), before);
  const weights = [];
  for (let place = first; place < last; place++) {
    const x = Math.abs((place + 0.5 - center) / spread);
    const near = (1.5 * x - 2.5) * x * x + 1;
    const far = ((-0.5 * x + 2.5) * x - 4) * x + 2;
    weights.push(x < 1 ? near : x < 2 ? far : 0);
  }
  const sum = weights.reduce((a, b) => a + b, 0);
  return { first, weights: weights.map((weight) => weight / sum) };
}

// A quarter turn against the clock.
export function turnLeft(image) {
  const { width, height, data } = image;
  const out = picture(height, width, 1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) out.data[(width - 1 - x) * height + y] = data[y * width + x];
  }
  return out;
}

// Rows as wide as `width`, the last column repeated on the right.
export function padRight(image, width) {
  const out = picture(width, image.height, 1);
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(y * image.width, (y + 1) * image.width);
    out.data.set(row, y * width);
    out.data.fill(row[image.width - 1], y * width + image.width, (y + 1) * width);
  }
  return out;
}

// The crop of a quad [[x, y], ...], clockwise from the top left, made level.
export function cut(image, quad) {
  const side = (a, b) => {
    const dx = Math.fround(quad[a][0] - quad[b][0]);
    const dy = Math.fround(quad[a][1] - quad[b][1]);
    return Math.fround(Math.sqrt(Math.fround(Math.fround(dx * dx) + Math.fround(dy * dy))));
  };
  const width = Math.max(1, roundEven(Math.max(side(0, 1), side(3, 2))));
  const height = Math.max(1, roundEven(Math.max(side(0, 3), side(1, 2))));
  const level = [
    [0, 0],
    [width, 0],
    [width, height],
    [0, height],
  ];
  return warp(image, inverse(perspective(quad, level)), width, height);
}

// The perspective that takes four points to four others: nine numbers, the last is 1.
function perspective(from, to) {
  const rows = [];
  for (let axis = 0; axis < 2; axis++) {
    for (let i = 0; i < 4; i++) {
      const [x, y] = from[i];
      const target = to[i][axis];
      const own = [x, y, 1];
      const none = [0, 0, 0];
      rows.push([
        ...(axis ? none : own),
        ...(axis ? own : none),
        -x * target,
        -y * target,
        target,
      ]);
    }
  }
  return [...solve(rows), 1];
}

// Gauss with pivots; each row ends in its right-hand side.
function solve(rows) {
  const count = rows.length;
  for (let column = 0; column < count; column++) {
    let pivot = column;
    for (let i = column + 1; i < count; i++) {
      if (Math.abs(rows[i][column]) > Math.abs(rows[pivot][column])) pivot = i;
    }
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let i = column + 1; i < count; i++) {
      const share = rows[i][column] / rows[column][column];
      for (let k = column; k <= count; k++) rows[i][k] -= share * rows[column][k];
    }
  }
  const values = new Array(count);
  for (let i = count - 1; i >= 0; i--) {
    let rest = rows[i][count];
    for (let k = i + 1; k < count; k++) rest -= rows[i][k] * values[k];
    values[i] = rest / rows[i][i];
  }
  return values;
}

function inverse([a, b, c, d, e, f, g, h, i]) {
  const [first, second, third] = [e * i - f * h, f * g - d * i, d * h - e * g];
  const share = 1 / (a * first + b * second + c * third);
  return [
    first,
    c * h - b * i,
    b * f - c * e,
    second,
    a * i - c * g,
    c * d - a * f,
    third,
    b * g - a * h,
    a * e - b * d,
  ].map((value) => value * share);
}

// OpenCV 5's warpPerspective: float32 all the way, black outside. `matrix` leads back to `image`.
function warp(image, matrix, width, height) {
  const { channels, data } = image;
  const m = Float32Array.from(matrix);
  const out = picture(width, height, channels);
  const inside = (x, y) => x >= 0 && y >= 0 && x < image.width && y < image.height;
  const r = Math.fround;
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const divisor = r(r(r(x * m[6]) + r(y * m[7])) + m[8]);
      const sx = r(r(r(r(x * m[0]) + r(y * m[1])) + m[2]) / divisor);
      const sy = r(r(r(r(x * m[3]) + r(y * m[4])) + m[5]) / divisor);
      const left = Math.floor(sx);
      const top = Math.floor(sy);
      const dx = r(sx - left);
      const dy = r(sy - top);
      const [i00, i01] = [inside(left, top), inside(left + 1, top)];
      const [i10, i11] = [inside(left, top + 1), inside(left + 1, top + 1)];
      const from = (top * image.width + left) * channels;
      const below = from + image.width * channels;
      for (let c = 0; c < channels; c++, at++) {
        const p00 = i00 ? data[from + c] : 0;
        const p01 = i01 ? data[from + channels + c] : 0;
        const p10 = i10 ? data[below + c] : 0;
        const p11 = i11 ? data[below + channels + c] : 0;
        const above = r(p00 + r(dx * (p01 - p00)));
        const under = r(p10 + r(dx * (p11 - p10)));
        out.data[at] = roundEven(r(above + r(dy * r(under - above))));
      }
    }
  }
  return out;
}
