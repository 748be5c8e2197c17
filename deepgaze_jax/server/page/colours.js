// Perceptually uniform colour maps: equal steps of the value look like equal steps.

// Every eighth colour of matplotlib's tables (public domain, CC0), the last included.
const TABLES = {
  inferno:
    "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d" +
    "8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628f1731df68013" +
    "f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4",
  viridis:
    "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e" +
    "2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b" +
    "5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
  cividis:
    "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e" +
    "61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76f" +
    "bcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838",
};

/** Names of the colour maps. */
export const COLOUR_MAPS = Object.keys(TABLES);

// The darkest end of a map cannot be seen on dark photographs.
const RANGE = [0.3, 0.97];

/** Returns the colour [red, green, blue], 0..255, of a map at a place 0..1. */
export function colourAt(name, place) {
  const table = TABLES[name];
  const last = table.length / 6 - 1;
  const at = Math.min(1, Math.max(0, place)) * last;
  const from = Math.min(last - 1, Math.floor(at));
  return [0, 2, 4].map((offset) => {
    const channel = (i) => parseInt(table.slice(6 * i + offset, 6 * i + offset + 2), 16);
    return channel(from) + (at - from) * (channel(from + 1) - channel(from));
  });
}

/**
 * Returns n colours with their opacity, bytes RGBA, for values from 0 to 1.
 *
 * The opacity grows from 0 to `opacity`, smoothly at both ends; `solid` leaves it whole.
 */
export function colourTable(name, n, { opacity = 1, solid = false } = {}) {
  const table = new Uint8ClampedArray(4 * n);
  for (let i = 0; i < n; i++) {
    const value = n > 1 ? i / (n - 1) : 0;
    const alpha = solid ? 1 : opacity * value * value * (3 - 2 * value);
    const colour = colourAt(name, RANGE[0] + (RANGE[1] - RANGE[0]) * value);
    table.set([...colour, 255 * alpha], 4 * i);
  }
  return table;
}
