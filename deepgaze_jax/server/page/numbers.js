// Numbers as people read them, and the angles of a screen.

/** Returns a number with a few digits, with a real minus. */
export function text(number, digits = 3) {
  if (!Number.isFinite(number)) return number < 0 ? "−∞" : "∞";
  let said = number.toPrecision(digits);
  if (said.includes("e")) {
    const [factor, power] = said.split("e");
    said = `${factor}·10^${Number(power)}`;
  }
  return said.replaceAll("-", "−");
}

/** Returns a number with a fixed number of decimals and a sign where wanted. */
export function fixed(number, decimals, sign = false) {
  if (!Number.isFinite(number)) return number < 0 ? "−∞" : "∞";
  const said = Math.abs(number).toFixed(decimals);
  const zero = Number(said) === 0;
  return (number < 0 && !zero ? "−" : sign && !zero ? "+" : "") + said;
}

/** Returns a share as per cent. */
export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return `${text(value, 2)} %`;
  return `${value.toFixed(value < 10 ? 2 : 1)} %`;
}

/** Returns bits relative to uniform of a log density (nats per pixel). */
export function relativeBits(logDensity, height, width) {
  return (logDensity + Math.log(height * width)) / Math.LN2;
}

/**
 * Returns how many pixels of a picture one degree of visual angle covers.
 *
 * At the middle of the screen. zoom: screen pixels for each pixel of the picture. NaN
 * where a value is not a positive number.
 */
export function pixelsPerDva({ width, height, inches, distanceCm, zoom = 1 }) {
  const values = [width, height, inches, distanceCm, zoom];
  if (!values.every((value) => Number.isFinite(value) && value > 0)) return NaN;
  const pixelsPerCm = Math.hypot(width, height) / (inches * 2.54);
  const degreeCm = 2 * distanceCm * Math.tan(Math.PI / 360);
  return (degreeCm * pixelsPerCm) / zoom;
}
