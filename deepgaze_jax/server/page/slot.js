// A place for a picture, A or B: the picture, its result and the request in between.

import { analyse } from "./analysis.js";
import { predict, ServerError } from "./api.js";
import { fixed } from "./numbers.js";
import { decode, drawResult, paler } from "./pictures.js";
import { maxUploadBytes } from "./settings.js";

/** Errors that may be gone a moment later. */
const PASSING = [0, 429, 503];

export class Slot {
  constructor(key, panel) {
    this.key = key;
    this.panel = panel;
    this.clear();
  }

  /** Forgets picture and result. */
  clear() {
    this.controller?.abort();
    this.controller = null;
    this.blob = null;
    this.name = "";
    this.picture = null;
    this.result = null;
    this.settings = null;
    this.fixations = [];
    // Where the worker is broken, whoever asks for a result is told.
    analyse("forget", this.key).catch(() => {});
    this.#show();
  }

  /** Takes a picture; nothing is computed yet. */
  take(blob, name) {
    this.clear();
    this.blob = blob;
    this.name = name;
    this.decoding = decode(blob).then((picture) => {
      // Another picture may have come meanwhile.
      if (this.blob !== blob) return;
      this.picture = picture;
      if (picture) {
        this.panel.resize([picture.height, picture.width]);
        this.panel.drawPicture(picture.canvas);
        this.#show();
      }
    });
  }

  /**
   * Computes the result with these settings.
   *
   * Returns "" where a newer request took its place, else what to say. Throws what
   * went wrong; `passing` says whether it may go better a moment later.
   */
  async compute(settings) {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.#show();
    const began = performance.now();
    const seconds = () => (performance.now() - began) / 1000;
    const tell = () => this.panel.settings(`computing: ${fixed(seconds(), 0)} s`);
    const ticking = setInterval(tell, 1000);
    try {
      this.#checkSize();
      const answer = await predict(this.blob, settings, controller.signal);
      const result = await analyse("load", this.key, answer.buffer);
      await this.decoding;
      controller.signal.throwIfAborted();
      const file = new Blob([answer.buffer], { type: "application/x-npy" });
      this.#finish({ ...result, file });
      this.settings = settings;
      this.panel.settings(`${describe(answer, result)} · ${fixed(seconds(), 1)} s`);
      return `${this.name}: done. ${result.width} × ${result.height} pixels.`;
    } catch (error) {
      if (controller.signal.aborted) return "";
      // A result of other settings must not look like the one that was asked for.
      this.result = null;
      this.panel.settings("");
      // The server does not know what the file is called.
      error.message = error.message.replace(/^picture:/, `${this.name}:`);
      error.passing = error instanceof ServerError && PASSING.includes(error.status);
      throw error;
    } finally {
      clearInterval(ticking);
      if (this.controller === controller) {
        this.controller = null;
        this.#show();
      }
    }
  }

  /** Draws the result. */
  draw(view) {
    drawResult(this.panel.canvas, this.pale, this.result, view, this.fixations);
  }

  #checkSize() {
    const most = maxUploadBytes();
    if (this.blob.size <= most) return;
    const megabytes = (bytes) => `${fixed(bytes / 1e6, 1)} MB`;
    throw new Error(
      `${this.name} has ${megabytes(this.blob.size)}; this server takes at most ` +
        `${megabytes(most)}. Save it smaller and try again.`,
    );
  }

  #finish(result) {
    const { height, width, drawing } = result;
    const { picture } = this;
    const fits = picture?.height === height && picture?.width === width;
    let note = "";
    if (!picture) {
      note = "This browser cannot show this kind of picture; the density is drawn on grey.";
    } else if (!fits) {
      note =
        `The server sees ${width} × ${height} pixels and this browser ${picture.width} × ` +
        `${picture.height}; the density is drawn on grey.`;
      this.picture = null;
    }
    this.panel.empty(note);
    this.result = result;
    this.pale = paler(fits ? picture.canvas : null, [drawing.height, drawing.width]);
    this.panel.resize([height, width]);
  }

  #show() {
    const busy = this.controller !== null;
    this.panel.show({
      picture: this.picture,
      result: this.result,
      busy,
      stale: busy && this.result,
    });
  }
}

function describe({ model, fold, centerBias, pixelsPerDva }, { height, width }) {
  return [
    model,
    fold && (fold === "mixture" ? "mean of all readouts" : `readout ${fold}`),
    centerBias && `center bias: ${centerBias === "pooled" ? "the model’s own" : centerBias}`,
    pixelsPerDva && `${pixelsPerDva} px/dva`,
    `${width} × ${height} pixels`,
  ]
    .filter(Boolean)
    .join(" · ");
}
