// Contour lines by marching squares.

/**
 * Returns the pieces of a contour line, [x, y, x, y] for each, as a Float32Array.
 *
 * The value of a pixel belongs to its centre: pixel (0, 0) to the point (0.5, 0.5).
 */
export function contour(values, height, width, level) {
  const pieces = [];
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0; x + 1 < width; x++) {
      const i = y * width + x;
      const a = values[i];
      const b = values[i + 1];
      const c = values[i + width + 1];
      const d = values[i + width];
      const inside =
        (a > level) | ((b > level) << 1) | ((c > level) << 2) | ((d > level) << 3);
      if (inside === 0 || inside === 15) continue;
      // Where the line crosses the four edges of the square between the centres.
      const [left, top] = [x + 0.5, y + 0.5];
      const north = () => pieces.push(left + (level - a) / (b - a), top);
      const east = () => pieces.push(left + 1, top + (level - b) / (c - b));
      const south = () => pieces.push(left + (level - d) / (c - d), top + 1);
      const west = () => pieces.push(left, top + (level - a) / (d - a));
      switch (Math.min(inside, 15 - inside)) {
        case 1:
          west(), north();
          break;
        case 2:
          north(), east();
          break;
        case 3:
          west(), east();
          break;
        case 4:
          east(), south();
          break;
        case 6:
          north(), south();
          break;
        case 7:
          west(), south();
          break;
        case 5: {
          // Two corners that face each other: the mean says whether they connect.
          const joined = (a + b + c + d) / 4 > level;
          if (joined === (inside === 5)) {
            west(), south(), north(), east();
          } else {
            west(), north(), east(), south();
          }
        }
      }
    }
  }
  return Float32Array.from(pieces);
}
