// Files of numpy, as bytes.

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY

/** Returns {height, width, values} of a float32 array [height, width], row by row. */
export function parseNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new Error("The server did not send an array of numpy.");
  }
  const view = new DataView(buffer);
  const long = bytes[6] > 1; // Versions 2 and 3 have a longer length of the header.
  const start = long ? 12 : 10;
  const end = start + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder().decode(bytes.subarray(start, end));
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const shape = /'shape':\s*\((\d+),\s*(\d+),?\s*\)/.exec(header);
  if (type !== "<f4" || !order || !shape) {
    throw new Error(`Expected float32 [height, width], found ${header.trim()}`);
  }
  const [height, width] = [Number(shape[1]), Number(shape[2])];
  const found = (bytes.length - end) / 4;
  if (found !== height * width) {
    throw new Error(`Expected ${height}x${width} numbers, found ${found}.`);
  }
  // Headers are padded to 64 bytes; a copy is needed only where one is not.
  const data = end % 4 ? buffer.slice(end) : buffer;
  const values = new Float32Array(data, end % 4 ? 0 : end, height * width);
  const byColumns = order === "True";
  return { height, width, values: byColumns ? byRows(values, height, width) : values };
}

function byRows(values, height, width) {
  const out = new Float32Array(values.length);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) out[i] = values[x * height + y];
  }
  return out;
}
