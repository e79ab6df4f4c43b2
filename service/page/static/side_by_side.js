// The transformer beside its n-gram sibling on the same text: how much each word surprised each of
// them, as a heat map, and what that comes to.

import { ask } from "./api.js";
import { draw, make } from "./element.js";
import { jsonOf } from "./json.js";
import { fillRunning, partSpace, visibleText } from "./readable.js";

const MAX_BITS = 12;
const NAMES = { transformer: "Transformer", ngram: "N-gram" };
const CHART = { width: 640, height: 84 };

/** The comparison of both models on the text of the page. */
export class SideBySide {
  #details;
  #place;
  #callbacks;
  #passage = null;
  #waiting = null;

  /**
   * @param {HTMLDetailsElement} details Opened by who wants to see it.
   * @param {HTMLElement} place Where it is put.
   * @param {object} callbacks onSelect(position): the reader pointed at a token; onError(error).
   */
  constructor(details, place, callbacks) {
    this.#details = details;
    this.#place = place;
    this.#callbacks = callbacks;
    details.addEventListener("toggle", () => this.#ask());
  }

  /** Another text is there; whole is whether its last token has come. */
  show(passage) {
    this.#passage = passage;
    this.#waiting?.abort();
    if (passage === null) this.#say("Ready once the text has ended.");
    else if (!passage.isWhole) this.#say("Ready once the tokens of the prompt are known.");
    else this.#say("Asking both models \u2026");
    this.#ask();
  }

  async #ask() {
    const passage = this.#passage;
    if (!this.#details.open || passage === null || !passage.isWhole) return;
    if (passage.scores) {
      this.#render(passage.scores);
      return;
    }
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    const ids = passage.all.filter((token) => !token.endsText).map(({ view }) => view.id);
    const model = passage.model.replace(":ngram", "");
    const body = jsonOf({ model, ids, side_by_side: true, token_surprises: true });
    try {
      passage.scores = (await ask("/v1/score", body, this.#waiting.signal)).scores;
    } catch (error) {
      if (error.name === "AbortError") return;
      // Without an n-gram model, or without this version any more: the API says which.
      this.#say(`No comparison: ${error.message}`);
      if (error.status !== 404) this.#callbacks.onError(error);
      return;
    }
    if (passage === this.#passage) this.#render(passage.scores);
  }

  #say(text) {
    this.#place.replaceChildren(make("p", "hint note", text));
  }

  #render(scores) {
    const columns = make("div", "columns");
    for (const score of scores) columns.append(this.#column(score));
    this.#place.replaceChildren(chart(scores), columns, legend());
  }

  #column(score) {
    const column = make("section", `column is-${score.kind}`);
    const title = make("h3", "column-name", NAMES[score.kind]);
    const figures = make("p", "column-figures");
    figures.append(
      make("strong", "", score.bits_per_byte.toFixed(3)), " bits per byte ",
      make("span", "hint", `loss ${score.nats_per_token.toFixed(3)} nats a token, perplexity ` +
        score.perplexity.toLocaleString("en", { maximumFractionDigits: 1 })),
    );
    column.append(title, figures, this.#heat(score));
    return column;
  }

  #heat({ tokens, kind }) {
    const text = make("div", "heat");
    text.setAttribute("role", "img");
    const worst = tokens.reduce((most, each) => (each.surprise_bits > most.surprise_bits ? each : most));
    text.setAttribute("aria-label",
      `Surprise of the ${NAMES[kind]} token by token; most by ${visibleText(worst.token)}, ` +
      `${worst.surprise_bits.toFixed(1)} bits`);
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    tokens.forEach(({ token, surprise_bits: bits, rank }, position) => {
      const shown = decoder.decode(Uint8Array.from(token.bytes), { stream: true });
      const [space, word] = partSpace(shown.replaceAll("\ufffd", ""));
      const cell = make("span", "warm");
      fillRunning(cell, word);
      cell.style.setProperty("--heat", String(Math.min(1, bits / MAX_BITS)));
      cell.title = `${bits.toFixed(1)} bits, no. ${rank.toLocaleString("en")}`;
      cell.addEventListener("click", () => this.#callbacks.onSelect(position));
      text.append(space, cell);
    });
    return text;
  }
}

function chart(scores) {
  const svg = draw("svg", {
    class: "chart", viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img",
    preserveAspectRatio: "none",
  });
  svg.append(draw("title", {}, "Surprise in bits along the text, a line for each model"));
  for (const bits of [4, 8, 12]) {
    const y = yOf(bits);
    svg.append(draw("line", { class: "chart-grid", x1: 0, x2: CHART.width, y1: y, y2: y }));
  }
  for (const { kind, tokens } of [...scores].reverse()) {
    const step = CHART.width / Math.max(1, tokens.length);
    const parts = tokens.map(({ surprise_bits: bits }, index) =>
      `${index === 0 ? "M" : "L"}${(index * step).toFixed(1)} ${yOf(bits).toFixed(1)}h${step.toFixed(2)}`);
    svg.append(draw("path", { class: `chart-line is-${kind}`, d: parts.join("") }));
  }
  const figure = make("figure", "chart-place");
  const caption = make("figcaption", "hint");
  caption.append("Bits of surprise along the text: ");
  for (const { kind } of scores) {
    caption.append(make("span", `dot is-${kind}`), ` ${NAMES[kind]} `);
  }
  figure.append(svg, caption);
  return figure;
}

function yOf(bits) {
  return CHART.height - 2 - (Math.min(bits, 1.25 * MAX_BITS) / (1.25 * MAX_BITS)) * (CHART.height - 4);
}

function legend() {
  const line = make("p", "hint legend");
  const scale = make("span", "heat-scale");
  scale.setAttribute("aria-hidden", "true");
  line.append("0 bits ", scale, ` ${MAX_BITS} and more: the warmer, the less the model expected it.`);
  return line;
}
