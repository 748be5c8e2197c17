// What a log density says, as plain numbers: no document, so the worker can use it.

/** Longest side in pixels at which densities are drawn. */
export const MAX_SIDE = 1600;
const MIN_SIDE = 800; // Lines over smaller drawings would look coarse.
const SMOOTHING = 0.004; // Of the longest side; hides steps of the model's grid.
const STEPS = 2 ** 20; // Densities closer than the highest over this count as equal.

/** Returns the [height, width] at which a picture is drawn. */
export function displaySize(height, width) {
  const longest = Math.max(height, width);
  const scale = Math.min(MAX_SIDE, Math.max(MIN_SIDE, longest)) / longest;
  return [height, width].map((side) => Math.max(1, Math.round(side * scale)));
}

/**
 * Returns the density at another size, in multiples of the uniform density.
 *
 * Each new pixel has the mean over the area that it covers; Float32Array.
 */
export function resizeDensity({ height, width, values }, newHeight, newWidth) {
  const logArea = Math.log(height * width);
  const sums = new Float64Array(width + 1);
  const rows = new Map(); // The reduced rows that are still needed.
  const reduced = (y) => {
    if (rows.has(y)) return rows.get(y);
    for (let x = 0; x < width; x++) {
      sums[x + 1] = sums[x] + Math.exp(values[y * width + x] + logArea);
    }
    const upTo = (t) => {
      const x = Math.min(Math.floor(t), width - 1);
      return sums[x] + (t - x) * (sums[x + 1] - sums[x]);
    };
    const row = new Float64Array(newWidth);
    const step = width / newWidth;
    for (let x = 0; x < newWidth; x++) {
      row[x] = (upTo((x + 1) * step) - upTo(x * step)) / step;
    }
    rows.set(y, row);
    return row;
  };
  const out = new Float32Array(newHeight * newWidth);
  const total = new Float64Array(newWidth);
  const step = height / newHeight;
  for (let i = 0; i < newHeight; i++) {
    const [start, end] = [i * step, (i + 1) * step];
    const last = Math.min(height, Math.ceil(end));
    total.fill(0);
    for (let y = Math.floor(start); y < last; y++) {
      const weight = (Math.min(end, y + 1) - Math.max(start, y)) / step;
      const row = reduced(y);
      for (let x = 0; x < newWidth; x++) total[x] += weight * row[x];
    }
    for (let x = 0; x < newWidth; x++) out[i * newWidth + x] = Math.max(0, total[x]);
    for (const y of rows.keys()) if (y < last - 1) rows.delete(y);
  }
  return out;
}

/** Returns values [height, width] after a Gaussian blur; edges are repeated. */
export function blur(values, height, width, sigma) {
  const radius = Math.floor(4 * sigma + 0.5);
  const taps = Float64Array.from({ length: radius + 1 }, (_, d) =>
    Math.exp(-0.5 * (d / sigma) ** 2),
  );
  const sum = taps.reduce((a, b) => a + b) * 2 - taps[0];
  const along = (from, n, stride, lines, lineStride) => {
    const to = new Float32Array(from.length);
    const line = new Float64Array(n + 2 * radius);
    for (let k = 0; k < lines; k++) {
      const start = k * lineStride;
      for (let i = -radius; i < n + radius; i++) {
        line[i + radius] = from[start + Math.min(n - 1, Math.max(0, i)) * stride];
      }
      for (let i = 0; i < n; i++) {
        const at = i + radius;
        let total = taps[0] * line[at];
        for (let d = 1; d <= radius; d++) {
          total += taps[d] * (line[at - d] + line[at + d]);
        }
        to[start + i * stride] = total / sum;
      }
    }
    return to;
  };
  const across = along(values, width, 1, height, width);
  return along(across, height, width, width, 1);
}

/**
 * Returns {ranks, levels} of a density of any scale.
 *
 * ranks, Float32Array: for each pixel the share of the mass in pixels of lower density;
 * equal pixels share their place. levels: the densities above which a quarter, a half
 * and three quarters of the mass lie.
 */
export function ranksAndLevels(density) {
  let highest = 0;
  for (const value of density) if (value > highest) highest = value;
  const scale = STEPS / highest;
  const mass = new Float64Array(STEPS + 1);
  let total = 0;
  for (const value of density) {
    mass[Math.round(value * scale)] += value;
    total += value;
  }
  const levels = [];
  let above = 0;
  for (let step = STEPS; step >= 0 && levels.length < 3; step--) {
    above += mass[step];
    while (levels.length < 3 && above >= ((levels.length + 1) / 4) * total) {
      levels.push(step / scale);
    }
  }
  let below = 0;
  for (let step = 0; step <= STEPS; step++) {
    const here = mass[step];
    mass[step] = (below + here / 2) / total;
    below += here;
  }
  const ranks = new Float32Array(density.length);
  for (let i = 0; i < density.length; i++) {
    ranks[i] = mass[Math.round(density[i] * scale)];
  }
  return { ranks, levels };
}

/** Returns what a density is drawn from: {height, width, density, ranks, levels}. */
export function drawable(logDensity) {
  const [height, width] = displaySize(logDensity.height, logDensity.width);
  const sharp = resizeDensity(logDensity, height, width);
  const density = blur(sharp, height, width, SMOOTHING * Math.max(height, width));
  return { height, width, density, ...ranksAndLevels(density) };
}

/** Returns the share of expected fixations in a box {x0, y0, x1, y1} of pixels. */
export function boxShare({ width, values }, { x0, y0, x1, y1 }) {
  let share = 0;
  for (let y = y0; y < y1; y++) {
    for (let i = y * width + x0; i < y * width + x1; i++) share += Math.exp(values[i]);
  }
  return share;
}

/** Returns numbers in [0, 1), the same for the same seed, as a function. */
export function randomNumbers(seed) {
  let counter = 0;
  // The finaliser of MurmurHash3 over a counter.
  const next = () => {
    counter = (counter + 0x9e3779b9) | 0;
    let hash = counter ^ Math.imul(seed + 1, 0x27d4eb2f);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  };
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

/**
 * Returns n fixations drawn from a density, [[x, y], ...] in pixels.
 *
 * They are independent of each other: there is no order among them.
 */
export function sampleFixations({ height, width, values }, n, seed) {
  const upTo = new Float64Array(height + 1);
  for (let y = 0; y < height; y++) {
    let row = 0;
    for (let x = 0; x < width; x++) row += Math.exp(values[y * width + x]);
    upTo[y + 1] = upTo[y] + row;
  }
  const random = randomNumbers(seed);
  return Array.from({ length: n }, () => {
    const wanted = random() * upTo[height];
    let [low, high] = [0, height];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (upTo[middle] <= wanted) low = middle;
      else high = middle;
    }
    let rest = wanted - upTo[low];
    let x = 0;
    for (; x < width - 1; x++) {
      rest -= Math.exp(values[low * width + x]);
      if (rest < 0) break;
    }
    return [x + random(), low + random()];
  });
}

/** Returns the nearest whole number; of two the even one, as the server does. */
function roundEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/**
 * Returns the probability of each cell of a coarse grid, at most `cells` a side.
 *
 * A list of {x0, y0, x1, y1, probability}, row by row: the cells of the server's own
 * coarse grid, where pixel y of H belongs to row floor(y h / H).
 */
export function pooledGrid(logDensity, cells = 64) {
  const { height, width } = logDensity;
  const scale = Math.min(1, cells / Math.max(height, width));
  const rows = Math.max(1, roundEven(height * scale));
  const columns = Math.max(1, roundEven(width * scale));
  const edge = (i, n, size) => Math.ceil((i * size) / n);
  const grid = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const box = {
        x0: edge(column, columns, width),
        y0: edge(row, rows, height),
        x1: edge(column + 1, columns, width),
        y1: edge(row + 1, rows, height),
      };
      grid.push({ ...box, probability: boxShare(logDensity, box) });
    }
  }
  return grid;
}
