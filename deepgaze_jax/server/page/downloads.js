// What people take home.

import { analyse } from "./analysis.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function csv(columns, rows) {
  return new Blob([[columns, ...rows].map((row) => `${row.join(",")}\n`).join("")], {
    type: "text/csv",
  });
}

/** Saves the "png", "npy", "csv" (coarse grid) or "fixations" of a slot. */
export async function download(what, slot) {
  const dot = slot.name.lastIndexOf(".");
  const stem = dot > 0 ? slot.name.slice(0, dot) : slot.name;
  if (what === "npy") save(slot.result.file, `${stem}_log_density.npy`);
  if (what === "png") {
    slot.panel.canvas.toBlob((blob) => save(blob, `${stem}_overlay.png`));
  }
  if (what === "csv") {
    const rows = (await analyse("grid", slot.key)).map((cell) => [
      ...[cell.x0, cell.y0, cell.x1, cell.y1],
      ...[cell.probability, Math.log(cell.probability)],
    ]);
    save(csv(["x0", "y0", "x1", "y1", "probability", "log_probability"], rows), `${stem}_grid.csv`);
  }
  if (what === "fixations") save(csv(["x", "y"], slot.fixations), `${stem}_fixations.csv`);
}
