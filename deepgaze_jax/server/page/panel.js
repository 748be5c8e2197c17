// One picture with its result: what is shown of it, and how people point into it.

import { fixed, percent, relativeBits, text } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const CROSS = 0.035; // Half of the cursor's width, of the longest side.
const DRAG = 4; // Screen pixels a pointer moves before it draws a box.

/** Returns an element inside another by its class. */
const part = (root, name) => root.querySelector(`.${name}`);

/**
 * A panel on the page.
 *
 * `on` has what is called when people point: cursor(panel, x, y, byKey) with a pixel and
 * box(panel, box or null) with {x0, y0, x1, y1} in pixels, ends excluded.
 */
export class Panel {
  constructor(key, on) {
    this.key = key;
    this.on = on;
    this.size = null; // [height, width] of the picture.
    this.cursor = null; // [x, y], the pixel.
    this.corner = null; // Where the keyboard began a box.
    const template = document.getElementById("panel-template");
    this.root = template.content.firstElementChild.cloneNode(true);
    this.root.id = `panel-${key}`;
    this.picture = part(this.root, "picture");
    this.result = part(this.root, "result");
    this.canvas = this.result.querySelector("canvas");
    for (const figure of [this.picture, this.result]) {
      this.#draw(figure);
      this.#listen(part(figure, "view"));
    }
    const view = part(this.result, "view");
    view.addEventListener("keydown", (event) => this.#key(event));
    view.addEventListener("blur", () => (this.corner = null));
  }

  /** Sets name and letter; an empty letter is none. */
  name(title, letter) {
    part(this.root, "title").textContent = title;
    part(this.root, "letter").textContent = letter;
    part(this.root, "letter").hidden = !letter;
    const which = letter ? `${letter}, ${title}` : title;
    part(this.result, "view").setAttribute("aria-label", `Density of fixations of ${which}`);
  }

  /** Sets what stands where there is no picture. */
  empty(message) {
    part(this.root, "empty").textContent = message;
    part(this.root, "empty").hidden = !message;
  }

  /** Sets the size of the picture, [height, width]; null without one. */
  resize(size) {
    this.size = size;
    for (const figure of [this.picture, this.result]) {
      const view = part(figure, "view");
      if (!size) continue;
      const [height, width] = size;
      view.style.setProperty("--ratio", width / height);
      view.querySelector("svg").setAttribute("viewBox", `0 0 ${width} ${height}`);
    }
  }

  /** Shows or hides picture, result and numbers. */
  show({ picture, result, busy, stale }) {
    this.root.classList.toggle("vacant", !picture && !result && !busy);
    this.picture.hidden = !picture;
    this.result.hidden = !result && !busy;
    part(this.root, "numbers").hidden = !result;
    part(this.root, "downloads").hidden = !result;
    part(this.root, "progress").hidden = !busy;
    this.result.classList.toggle("stale", Boolean(stale));
    this.root.setAttribute("aria-busy", String(Boolean(busy)));
  }

  /** Draws the picture as it is. */
  drawPicture(source) {
    const canvas = this.picture.querySelector("canvas");
    [canvas.height, canvas.width] = [source.height, source.width];
    canvas.getContext("2d").drawImage(source, 0, 0);
  }

  /** Says with which settings the result was made. */
  settings(message) {
    part(this.root, "settings").textContent = message;
  }

  /** Moves the cursor to a pixel; returns the sentence that says what is there. */
  showCursor(x, y, logDensity) {
    this.cursor = [x, y];
    const [height, width] = this.size;
    const bits = relativeBits(logDensity, height, width);
    const nats = `${fixed(logDensity, 3)} nats`;
    const relative = `${fixed(bits, 2, true)} bits`;
    const times = `${text(2 ** bits)}×`;
    part(this.root, "pixel").textContent = `x ${x}, y ${y}`;
    part(this.root, "nats").textContent = nats;
    part(this.root, "bits").textContent = `${relative} (${times})`;
    const arm = CROSS * Math.max(height, width);
    const [cx, cy] = [x + 0.5, y + 0.5];
    const path =
      `M${cx - arm},${cy}h${0.7 * arm}m${0.6 * arm},0h${0.7 * arm}` +
      `M${cx},${cy - arm}v${0.7 * arm}m0,${0.6 * arm}v${0.7 * arm}`;
    for (const figure of [this.picture, this.result]) {
      const cross = part(figure, "cursor");
      for (const one of cross.children) one.setAttribute("d", path);
      cross.removeAttribute("display");
    }
    return `x ${x}, y ${y}: ${nats}, ${relative} relative to uniform`;
  }

  /** Draws the box, or none. */
  showBox(box) {
    for (const figure of [this.picture, this.result]) {
      const rect = part(figure, "box");
      if (!box) {
        rect.setAttribute("display", "none");
        continue;
      }
      const { x0, y0, x1, y1 } = box;
      for (const one of rect.children) {
        setAll(one, { x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
      }
      rect.removeAttribute("display");
    }
    if (!box) this.showShare(null);
  }

  /** Says which share of the fixations is expected in the box. */
  showShare(box, share) {
    const [ofBox, ofShare] = [this.root.querySelector("dd.box"), part(this.root, "share")];
    if (!box) {
      [ofBox.textContent, ofShare.textContent] = ["–", "–"];
      return "";
    }
    const [height, width] = this.size;
    const [w, h] = [box.x1 - box.x0, box.y1 - box.y0];
    const area = (w * h) / (width * height);
    ofShare.textContent = percent(share);
    ofShare.dataset.share = share;
    ofBox.textContent =
      `x ${box.x0} to ${box.x1 - 1}, y ${box.y0} to ${box.y1 - 1}; ` +
      `${percent(area)} of the area, ${text(share / area)} times uniform`;
    return `${percent(share)} of the expected fixations in ${percent(area)} of the area`;
  }

  #draw(figure) {
    const svg = figure.querySelector("svg");
    svg.setAttribute("preserveAspectRatio", "none");
    for (const [name, shape] of [["box", "rect"], ["cursor", "path"]]) {
      const group = document.createElementNS(SVG, "g");
      setAll(group, { class: name, display: "none" });
      for (let i = 0; i < 2; i++) {
        group.append(document.createElementNS(SVG, shape));
      }
      svg.append(group);
    }
  }

  #listen(view) {
    let start = null;
    const pixel = (event) => {
      const [height, width] = this.size;
      const { left, top, width: w, height: h } = view.getBoundingClientRect();
      const at = (place, n) => Math.min(n - 1, Math.max(0, Math.floor(place * n)));
      return [at((event.clientX - left) / w, width), at((event.clientY - top) / h, height)];
    };
    view.addEventListener("pointerdown", (event) => {
      if (!this.size || event.button !== 0) return;
      start = { x: event.clientX, y: event.clientY, pixel: pixel(event), drawing: false };
      // A finger scrolls the page, unless people chose to draw with it.
      start.draws = event.pointerType !== "touch" || document.body.classList.contains("draws");
      if (start.draws) view.setPointerCapture(event.pointerId);
    });
    view.addEventListener("pointermove", (event) => {
      if (!this.size) return;
      if (start?.draws) {
        const far = Math.hypot(event.clientX - start.x, event.clientY - start.y) > DRAG;
        start.drawing ||= far;
        if (start.drawing) this.on.box(this, between(start.pixel, pixel(event)));
      }
      if (event.pointerType !== "touch" || start?.drawing) {
        this.on.cursor(this, ...pixel(event), false);
      }
    });
    view.addEventListener("pointerup", (event) => {
      if (start && !start.drawing) this.on.cursor(this, ...pixel(event), false);
      start = null;
    });
    view.addEventListener("pointercancel", () => (start = null));
  }

  #key(event) {
    if (!this.size || event.ctrlKey || event.altKey || event.metaKey) return;
    const [height, width] = this.size;
    const [x, y] = this.cursor ?? [width >> 1, height >> 1];
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(height, width) / 100));
    const moves = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      this.#moveTo(
        Math.min(width - 1, Math.max(0, x + dx)),
        Math.min(height - 1, Math.max(0, y + dy)),
      );
    } else if (event.key === "Home") {
      this.on.densest(this, (...pixel) => this.#moveTo(...pixel));
    } else if (event.key === "Enter") {
      this.corner = this.corner ? null : [x, y];
      this.#moveTo(x, y);
    } else if (event.key === "Escape") {
      this.corner = null;
      this.on.box(this, null);
    } else {
      return;
    }
    event.preventDefault();
  }

  #moveTo(x, y) {
    this.on.cursor(this, x, y, true);
    if (this.corner) this.on.box(this, between(this.corner, [x, y]));
  }
}

/** Returns the box that has two pixels in opposite corners. */
function between([xa, ya], [xb, yb]) {
  return {
    x0: Math.min(xa, xb),
    y0: Math.min(ya, yb),
    x1: Math.max(xa, xb) + 1,
    y1: Math.max(ya, yb) + 1,
  };
}

function setAll(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
}
