// Pictures as the browser decodes them, and drawings on canvases.

import { displaySize } from "./density.js";
import { colourTable } from "./colours.js";

const COLOUR = 0.45; // What is left of a photograph's colour under a density.
const LINE = 0.0022; // Width of contour lines, of the longest side.
const COLOURS = 1024;

/** Returns a new canvas. */
export function newCanvas(height, width) {
  const canvas = document.createElement("canvas");
  canvas.height = height;
  canvas.width = width;
  return canvas;
}

/**
 * Returns {height, width, canvas}: the upright picture, drawn on white.
 *
 * Null where the browser does not know this kind of picture: servers know more.
 */
export async function decode(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const { height, width } = bitmap;
  const canvas = newCanvas(...displaySize(height, width));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return { height, width, canvas };
}

/** Returns a canvas with a paler copy of a picture; grey where there is none. */
export function paler(picture, [height, width]) {
  const canvas = newCanvas(height, width);
  const context = canvas.getContext("2d");
  if (!picture) {
    context.fillStyle = "#808080";
    context.fillRect(0, 0, width, height);
    return canvas;
  }
  const pixels = picture.getContext("2d").getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    const grey = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    for (let k = i; k < i + 3; k++) data[k] = COLOUR * data[k] + (1 - COLOUR) * grey;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * Draws a density, its contour lines and fixations over a paler picture.
 *
 * view: {scale, highest, colours, opacity, contours}; highest is the density that has
 * the last colour of the density scale. fixations: [[x, y], ...] in picture pixels.
 */
export function drawResult(canvas, pale, result, view, fixations) {
  const { height, width } = result.drawing;
  canvas.height = height;
  canvas.width = width;
  const context = canvas.getContext("2d");
  context.drawImage(pale, 0, 0);
  context.drawImage(heat(result.drawing, view), 0, 0);
  if (view.contours) drawLines(context, result.drawing);
  drawFixations(context, result, fixations);
}

function heat({ height, width, ranks, density }, view) {
  const values = view.scale === "density" ? density : ranks;
  const steps = (COLOURS - 1) / (view.scale === "density" ? view.highest : 1);
  const colours = new Uint32Array(
    colourTable(view.colours, COLOURS, { opacity: view.opacity }).buffer,
  );
  const pixels = new ImageData(width, height);
  const data = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < data.length; i++) {
    data[i] = colours[Math.min(COLOURS - 1, (values[i] * steps + 0.5) | 0)];
  }
  const canvas = newCanvas(height, width);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function drawLines(context, { height, width, lines }) {
  const path = new Path2D();
  for (const line of lines) {
    for (let i = 0; i < line.length; i += 4) {
      path.moveTo(line[i], line[i + 1]);
      path.lineTo(line[i + 2], line[i + 3]);
    }
  }
  const thin = Math.max(1, LINE * Math.max(height, width));
  context.lineCap = "round";
  context.lineWidth = 2.6 * thin;
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.stroke(path);
  context.lineWidth = thin;
  context.strokeStyle = "white";
  context.stroke(path);
}

function drawFixations(context, { height, width, drawing }, fixations) {
  const radius = Math.max(2, 0.0045 * Math.max(drawing.height, drawing.width));
  context.lineWidth = Math.max(1, radius / 3);
  context.strokeStyle = "rgb(0 0 0 / 75%)";
  context.fillStyle = "#7fe3ff";
  for (const [x, y] of fixations) {
    context.beginPath();
    context.arc(
      (x * drawing.width) / width,
      (y * drawing.height) / height,
      radius,
      0,
      2 * Math.PI,
    );
    context.fill();
    context.stroke();
  }
}

/** Draws the colours of a scale from left to right. */
export function drawLegend(canvas, colours) {
  const table = colourTable(colours, canvas.width, { solid: true });
  const pixels = new ImageData(table, canvas.width, 1);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
