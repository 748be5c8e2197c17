// The forms: what people chose, in words that the rest of the page understands.

import { COLOUR_MAPS } from "./colours.js";
import { fixed, pixelsPerDva } from "./numbers.js";

const $ = (id) => document.getElementById(id);
const number = (id) => Number.parseFloat($(id).value);

/** What the server offers; null until it has answered. */
let offered = null;

/** Fills the lists with what the server offers, the answer of /v1/models. */
export function offer(server) {
  offered = server;
  const chosen = server.models.find((one) => one.default) ?? server.models[0];
  $("model").replaceChildren(
    ...server.models.map(({ name }) => new Option(name, name, false, name === chosen?.name)),
  );
  $("center-bias").replaceChildren(
    new Option("the model’s own", ""),
    ...server.center_biases.map((name) => new Option(biasName(name), name)),
  );
  sayModel();
}

function biasName(name) {
  return name === "uniform" ? "uniform: none" : `of the data set ${name}`;
}

function sayModel() {
  const model = offered?.models.find(({ name }) => name === $("model").value);
  if (!model) return;
  const known = model.pixels_per_dva;
  $("dva").placeholder = known ?? "";
  $("dva-note").textContent = known
    ? `Empty: ${known}, that of the model’s training pictures.`
    : "This model does not know its own value: leave it empty.";
  $("model-note").textContent = [
    trainingData(model.card?.data),
    `${model.network ?? "no network"}, mean of ${model.folds} readouts.`,
  ].join(" ");
}

/** Returns a sentence on the data that a card names; cards may leave it out. */
function trainingData({ name, n_images, n_subjects, n_fixations } = {}) {
  if (![name, n_images, n_subjects, n_fixations].every(Boolean)) return "";
  const [fixations, people, pictures] = [n_fixations, n_subjects, n_images].map((n) =>
    n.toLocaleString("en"),
  );
  return `Trained on ${name}: ${fixations} fixations of ${people} people on ${pictures} pictures;`;
}

/** Returns {model, centerBias, pixelsPerDva}, or null where a value cannot be used. */
export function predictionSettings() {
  const field = $("dva");
  const wrong = field.validity.badInput || (field.value !== "" && !(number("dva") > 0));
  field.setAttribute("aria-invalid", String(wrong));
  if (wrong) return null;
  return {
    model: $("model").value,
    centerBias: $("center-bias").value,
    pixelsPerDva: field.value,
  };
}

/** Returns the most bytes of a picture that the server takes. */
export function maxUploadBytes() {
  return offered?.limits?.max_upload_bytes ?? Infinity;
}

/** Returns {scale, colours, opacity, contours}. */
export function viewSettings() {
  return {
    scale: document.querySelector("input[name=scale]:checked").value,
    colours: $("colours").value,
    opacity: number("opacity") / 100,
    contours: $("contours").checked,
  };
}

/** Returns {n, seed} of the fixations to be drawn; n is 0 where none are wanted. */
export function sampleSettings() {
  const whole = (id, most) => Math.min(most, Math.max(0, Math.trunc(number(id)) || 0));
  return {
    n: $("samples").checked ? whole("sample-number", 5000) : 0,
    seed: whole("sample-seed", 2 ** 32 - 1),
  };
}

/** Returns the box of the number fields, within a picture; null if incomplete. */
export function boxSettings([height, width]) {
  const [x, y, w, h] = ["box-x", "box-y", "box-width", "box-height"].map(number);
  if (![x, y, w, h].every(Number.isFinite)) return null;
  const within = (value, low, high) => Math.min(high, Math.max(low, Math.round(value)));
  const [x0, y0] = [within(x, 0, width - 1), within(y, 0, height - 1)];
  return {
    x0,
    y0,
    x1: within(x0 + w, x0 + 1, width),
    y1: within(y0 + h, y0 + 1, height),
  };
}

/** Writes a box into the number fields. */
export function showBoxSettings(box) {
  const values = box && [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0];
  ["box-x", "box-y", "box-width", "box-height"].forEach((id, i) => {
    // Not the field in which somebody is typing.
    if (document.activeElement !== $(id)) $(id).value = values ? values[i] : "";
  });
}

function screenValue() {
  return pixelsPerDva({
    width: number("screen-width"),
    height: number("screen-height"),
    inches: number("screen-inches"),
    distanceCm: number("distance"),
    zoom: number("zoom") / 100,
  });
}

function sayScreen() {
  const value = screenValue();
  $("dva-result").textContent = Number.isNaN(value)
    ? "Every value has to be a positive number."
    : `${fixed(value, 1)} pixels of the picture per degree`;
  $("dva-use").disabled = Number.isNaN(value);
}

/** Calls back when people change something: {prediction, view, samples, box, noBox}. */
export function listen(on) {
  for (const form of document.forms) {
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  $("colours").replaceChildren(...COLOUR_MAPS.map((name) => new Option(name)));
  $("model").addEventListener("change", () => {
    sayModel();
    on.prediction();
  });
  $("center-bias").addEventListener("change", on.prediction);
  let typing = 0;
  $("dva").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(on.prediction, 600);
  });
  $("calculator").addEventListener("input", sayScreen);
  $("dva-use").addEventListener("click", () => {
    $("dva").value = screenValue().toFixed(1);
    on.prediction();
  });
  sayScreen();
  $("view-form").addEventListener("input", ({ target }) => {
    $("opacity-value").textContent = `${$("opacity").value} %`;
    $("sample-settings").hidden = !$("samples").checked;
    if (target.id.startsWith("sample")) on.samples();
    else on.view();
  });
  $("box-form").addEventListener("input", ({ target }) => {
    if (target.id === "draw") document.body.classList.toggle("draws", target.checked);
    else on.box();
  });
  $("box-form").addEventListener("focusout", ({ target }) => {
    if (target.type === "number") on.boxDone();
  });
  $("box-clear").addEventListener("click", on.noBox);
}
