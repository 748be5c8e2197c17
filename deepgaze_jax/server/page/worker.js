// The heavy sums, away from the page, so that it always answers.

import { contour } from "./contours.js";
import { boxShare, drawable, pooledGrid, sampleFixations } from "./density.js";
import { parseNpy } from "./npy.js";

const densities = new Map(); // By the key of their panel.

const tasks = {
  /** Takes a file of numpy; returns its numbers, and what they are drawn from. */
  load(key, file) {
    const logDensity = parseNpy(file);
    densities.set(key, logDensity);
    const drawing = drawable(logDensity);
    const { density, height, width, levels } = drawing;
    let [lowest, highest] = [Infinity, 0];
    for (const value of density) {
      if (value < lowest) lowest = value;
      if (value > highest) highest = value;
    }
    // A flat density has no lines, and equal levels have one.
    const lines = [...new Set(levels)]
      .filter((level) => level > lowest && level < highest)
      .map((level) => contour(density, height, width, level));
    return { ...logDensity, drawing: { ...drawing, highest, lines } };
  },
  forget(key) {
    densities.delete(key);
  },
  share: (key, box) => boxShare(densities.get(key), box),
  sample: (key, n, seed) => sampleFixations(densities.get(key), n, seed),
  grid: (key) => pooledGrid(densities.get(key)),
};

self.onmessage = ({ data: { id, task, args } }) => {
  try {
    self.postMessage({ id, result: tasks[task](...args) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
