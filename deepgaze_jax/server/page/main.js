// The page: pictures in, densities out. Everything after the prediction happens here.

import { analyse } from "./analysis.js";
import * as api from "./api.js";
import { download } from "./downloads.js";
import { fixed } from "./numbers.js";
import { Panel } from "./panel.js";
import { drawLegend } from "./pictures.js";
import * as settings from "./settings.js";
import { Slot } from "./slot.js";

const $ = (id) => document.getElementById(id);

const pointing = { cursor: setCursor, box: setBox, densest: findDensest };
const slots = ["a", "b"].map((key) => new Slot(key, new Panel(key, pointing)));
let cursor = null; // [x, y] as shares of width and height: the same place in A and B.
let box = null; // {x0, y0, x1, y1}, shares, too.

const comparing = () => $("compare").checked;
const shown = () => (comparing() ? slots : slots.slice(0, 1));
const withResult = () => shown().filter((slot) => slot.result);
/** Returns the slot whose pixels the number fields of the box count. */
const measured = () => shown().find((slot) => slot.panel.size);

// What the page says.

function say(text) {
  $("status").textContent = text;
}

let again = null;

function complain(text, retry = null) {
  again = retry;
  $("message").querySelector("p").textContent = text;
  $("retry").hidden = !retry;
  $("message").hidden = false;
}

/** Says what went wrong with a request, and asks for a key where one is needed. */
function fail(error, retry) {
  const locked = error.status === 401;
  $("key-form").hidden = !locked;
  if (!locked) complain(error.message, retry);
  else if ($("key").value) complain("The server does not know this key.");
  if (locked) $("key").focus();
}

function calm() {
  $("message").hidden = true;
}

let speaking = 0;
let sentences = {};

/**
 * Reads out to those who listen to the page, when the keys come to rest.
 *
 * about: "cursor" or "box"; of each the last sentence is read.
 */
function speak(about, sentence) {
  sentences[about] = sentence;
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    $("spoken").textContent = Object.values(sentences).join(". ");
    sentences = {};
  }, 350);
}

// Pictures and predictions.

/** Returns the slot that the next picture goes to. */
function targetSlot() {
  const { value } = document.querySelector("input[name=target]:checked");
  return comparing() ? slots.find(({ key }) => key === value) : slots[0];
}

function take(blob, name, slot = targetSlot()) {
  slot.take(blob, name);
  if (!comparing()) {
    cursor = null;
    setBox(null, null);
  }
  slot.panel.empty("");
  nameSlots();
  if (comparing() && !slots[1].blob) {
    document.querySelector("input[name=target][value=b]").checked = true;
  }
  compute(slot);
  // Where everything is one column, the result is further down.
  if (matchMedia("(max-width: 860px)").matches) slot.panel.root.scrollIntoView();
}

async function compute(slot) {
  if (!slot.blob) return;
  const chosen = settings.predictionSettings();
  if (!chosen) {
    complain("Pixels per degree: expected a positive number, or nothing.");
    return;
  }
  calm();
  say(`Computing where people look in ${slot.name} …`);
  try {
    const done = await slot.compute(chosen);
    if (!done) return;
    say(done);
  } catch (error) {
    say("");
    fail(error, error.passing ? () => compute(slot) : null);
  }
  await sample(slot);
  refresh();
}

function nameSlots() {
  for (const { key, name, blob, panel } of slots) {
    const letter = comparing() ? key.toUpperCase() : "";
    panel.name(name, letter);
    if (blob) continue;
    panel.empty(
      `Choose ${letter ? `picture ${letter}` : "a picture"}, drop it here or paste it. ` +
        "The density of fixations appears beside it.",
    );
  }
}

// Drawing.

let drawing = 0;

/** Draws everything again with the next frame. */
function redraw() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => {
    const view = settings.viewSettings();
    const results = withResult();
    // One scale for both pictures.
    view.highest = Math.max(...results.map(({ result }) => result.drawing.highest));
    for (const slot of results) slot.draw(view);
    $("legend").hidden = results.length === 0;
    if (results.length) showLegend(view);
  });
}

function showLegend({ scale, colours, highest }) {
  drawLegend($("legend").querySelector("canvas"), colours);
  const ranks = scale === "ranks";
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((place) =>
    ranks
      ? `${100 * place} %`
      : `${fixed(place * highest, place && highest < 40 ? 1 : 0)}×`,
  );
  $("legend").querySelector(".ticks").replaceChildren(
    ...ticks.map((tick) => Object.assign(document.createElement("span"), { textContent: tick })),
  );
  $("legend").querySelector("p").textContent = ranks
    ? "Share of the expected fixations that fall on less dense pixels. The lines are at 25, 50 and 75 %: a quarter of the fixations is expected inside the innermost, three quarters inside the outer."
    : `Density in multiples of the uniform density${comparing() ? ", on one scale for A and B" : ""}.`;
}

async function sample(slot) {
  const { n, seed } = settings.sampleSettings();
  const { result } = slot;
  const drawn = n && result ? await analyse("sample", slot.key, n, seed) : [];
  if (slot.result !== result) return;
  slot.fixations = drawn;
  slot.panel.root.querySelector("[data-save=fixations]").hidden = !drawn.length;
}

// Cursor and box.

function setCursor(panel, x, y, byKey) {
  const [height, width] = panel.size;
  cursor = [(x + 0.5) / width, (y + 0.5) / height];
  showCursor(byKey);
}

function showCursor(aloud = false) {
  if (!cursor) return;
  const said = [];
  for (const { key, result, panel } of withResult()) {
    const x = Math.floor(cursor[0] * result.width);
    const y = Math.floor(cursor[1] * result.height);
    const text = panel.showCursor(x, y, result.values[y * result.width + x]);
    said.push(comparing() ? `${key.toUpperCase()}: ${text}` : text);
  }
  if (aloud) speak("cursor", said.join(". "));
}

function findDensest(panel, move) {
  const { result } = slots.find((slot) => slot.panel === panel);
  if (!result) return;
  let best = 0;
  for (let i = 1; i < result.values.length; i++) {
    if (result.values[i] > result.values[best]) best = i;
  }
  move(best % result.width, Math.floor(best / result.width));
}

function setBox(panel, pixels) {
  if (pixels) {
    const [height, width] = panel.size;
    const { x0, y0, x1, y1 } = pixels;
    box = { x0: x0 / width, y0: y0 / height, x1: x1 / width, y1: y1 / height };
  } else {
    box = null;
  }
  showBox();
}

/** Returns the box in the pixels of a picture, at least one of them. */
function pixelBox([height, width]) {
  const x0 = Math.min(width - 1, Math.round(box.x0 * width));
  const y0 = Math.min(height - 1, Math.round(box.y0 * height));
  return {
    x0,
    y0,
    x1: Math.max(x0 + 1, Math.round(box.x1 * width)),
    y1: Math.max(y0 + 1, Math.round(box.y1 * height)),
  };
}

function showBox() {
  for (const slot of shown()) {
    const { panel } = slot;
    if (!panel.size) continue;
    panel.showBox(box && pixelBox(panel.size));
    showShare(slot);
  }
  const slot = measured();
  settings.showBoxSettings(box && slot ? pixelBox(slot.panel.size) : null);
}

/** Asks for the share of the box; while the answer is awaited only the last counts. */
async function showShare(slot) {
  if (slot.asking) return;
  slot.asking = true;
  let said = "";
  try {
    let asked;
    do {
      asked = box;
      const { result } = slot;
      if (!box || !result) break;
      const pixels = pixelBox([result.height, result.width]);
      const share = await analyse("share", slot.key, pixels);
      if (box && slot.result === result) said = slot.panel.showShare(pixels, share);
    } while (asked !== box);
  } finally {
    slot.asking = false;
  }
  if (said) speak("box", said);
}

function refresh() {
  showCursor();
  showBox();
  redraw();
}

// Wiring.

function compare() {
  const both = comparing();
  $("panels").classList.toggle("compare", both);
  $("target").hidden = !both;
  $("box-of").hidden = !both;
  slots[1].panel.root.hidden = !both;
  if (both && !slots[1].blob) {
    const next = slots[0].blob ? "b" : "a";
    document.querySelector(`input[name=target][value=${next}]`).checked = true;
  }
  nameSlots();
  refresh();
  // What was not shown has not followed the settings.
  const wanted = JSON.stringify(settings.predictionSettings());
  for (const slot of shown()) {
    if (slot.settings && JSON.stringify(slot.settings) !== wanted) compute(slot);
  }
}

async function showGallery() {
  const examples = await api.examples();
  $("gallery").hidden = examples.length === 0;
  $("gallery").querySelector("ul").replaceChildren(
    ...examples.map(({ name, title, url, credit }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = `${title}. ${credit}`;
      const image = new Image();
      Object.assign(image, { src: url, alt: title, loading: "lazy" });
      button.append(image);
      button.addEventListener("click", async () => {
        try {
          take(await api.example(url), name);
        } catch (error) {
          complain(error.message);
        }
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

async function connect() {
  try {
    settings.offer(await api.models());
    $("key-form").hidden = true;
    calm();
    await showGallery();
    for (const slot of slots) compute(slot);
  } catch (error) {
    fail(error, connect);
  }
}

function takeFiles(files, slot) {
  if (!files.length) return;
  // Two pictures at once are A and B.
  if (files.length > 1 && comparing()) {
    slots.forEach((one, i) => take(files[i], files[i].name, one));
  } else {
    take(files[0], files[0].name || "pasted picture", slot);
  }
}

function receivePictures() {
  $("file").addEventListener("change", ({ target }) => {
    takeFiles([...target.files]);
    target.value = ""; // The same file can be chosen again.
  });
  const dragged = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    const over = slots.find(({ panel }) => panel.root.contains(event.target));
    takeFiles([...event.dataTransfer.files], comparing() ? over : undefined);
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    takeFiles([...(clipboardData?.files ?? [])]);
  });
}

function start() {
  for (const slot of slots) {
    $("panels").append(slot.panel.root);
    for (const button of slot.panel.root.querySelectorAll("[data-save]")) {
      button.addEventListener("click", () => download(button.dataset.save, slot));
    }
  }
  settings.listen({
    prediction: () => shown().forEach(compute),
    view: redraw,
    samples: async () => {
      await Promise.all(shown().map(sample));
      redraw();
    },
    box: () => {
      const slot = measured();
      const pixels = slot && settings.boxSettings(slot.panel.size);
      if (pixels) setBox(slot.panel, pixels);
    },
    // What was typed may lie outside; half a box stays as it is.
    boxDone: () => box && showBox(),
    noBox: () => setBox(null, null),
  });
  $("compare").addEventListener("change", compare);
  $("retry").addEventListener("click", () => again?.());
  $("dismiss").addEventListener("click", calm);
  $("key-form").addEventListener("submit", () => {
    api.useApiKey($("key").value);
    connect();
  });
  receivePictures();
  compare();
  connect();
}

start();
