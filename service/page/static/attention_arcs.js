// Attention over the text itself: a wash on what was looked at, and an arc from each of them.

import { draw } from "./element.js";

const MAX_ARCS = 12;
const LEAST_WEIGHT = 0.02;

/** What is drawn over the sheet of tokens. */
export class AttentionArcs {
  #sheet;
  #svg;
  #strip = null;
  #shown = null;

  /** @param {HTMLElement} sheet The element that holds the tokens. */
  constructor(sheet) {
    this.#sheet = sheet;
    this.#svg = draw("svg", { class: "arcs", "aria-hidden": "true" });
    sheet.parentElement.append(this.#svg);
    new ResizeObserver(() => this.#draw()).observe(sheet);
  }

  /** Draw the weights of the tokens before one, or nothing where there is none. */
  show(strip, token, weights) {
    for (const washed of this.#sheet.querySelectorAll(".is-looked-at")) {
      washed.classList.remove("is-looked-at");
    }
    this.#strip = strip;
    this.#shown = token === null ? null : { token, weights };
    this.#sheet.classList.toggle("shows-attention", token !== null);
    if (token !== null) {
      const largest = Math.max(...weights);
      weights.forEach((weight, position) => {
        const element = strip.elementAt(position);
        if (element === null || weight < LEAST_WEIGHT) return;
        element.classList.add("is-looked-at");
        element.style.setProperty("--attention-share", String(weight / largest));
      });
    }
    this.#draw();
  }

  #draw() {
    this.#svg.replaceChildren();
    if (this.#shown === null) return;
    const { token, weights } = this.#shown;
    const base = this.#sheet.getBoundingClientRect();
    this.#svg.setAttribute("width", String(base.width));
    this.#svg.setAttribute("height", String(base.height));
    const target = this.#strip.elementAt(token.position);
    if (target === null) return;
    const to = edgesOf(target, base);
    weights
      .map((weight, position) => ({ weight, element: this.#strip.elementAt(position) }))
      .filter(({ weight, element }) => weight >= LEAST_WEIGHT && element !== null)
      .sort((one, other) => other.weight - one.weight)
      .slice(0, MAX_ARCS)
      .forEach(({ weight, element }) => this.#svg.append(arc(edgesOf(element, base), to, weight)));
  }
}

// Within a line over the words; from a line above through the gaps between lines.
function arc(from, to, weight) {
  const isSameLine = Math.abs(from.top - to.top) < 4;
  const lift = Math.min(34, 8 + Math.abs(to.x - from.x) * 0.12);
  const path = isSameLine
    ? `M${from.x} ${from.top} Q${(from.x + to.x) / 2} ${from.top - lift} ${to.x} ${to.top}`
    : `M${from.x} ${from.bottom} C${from.x} ${from.bottom + 16} ` +
      `${to.x} ${to.top - 16} ${to.x} ${to.top}`;
  const width = (0.75 + 3.5 * weight).toFixed(2);
  const opacity = (0.25 + 0.7 * weight).toFixed(3);
  return draw("path", { d: path, "stroke-width": width, "stroke-opacity": opacity });
}

// The middle of a word's edges; of a word on two lines, of its first part.
function edgesOf(element, base) {
  const [box] = element.querySelector(".ink").getClientRects();
  const { left, right, top, bottom } = box ?? element.getBoundingClientRect();
  return {
    x: (left + right) / 2 - base.left, top: top - base.top + 4, bottom: bottom - base.top - 2,
  };
}
