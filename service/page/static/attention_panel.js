// The panel of attention: which of the tokens before it the network looked at while it predicted
// this one, by layer and head; drawn over the text as well.

import { ask } from "./api.js";
import { make, makeButton, makeTrack } from "./element.js";
import { jsonOf } from "./json.js";
import { fillAlone, percent, spokenName } from "./readable.js";

const REST_MILLISECONDS = 120;
const NUM_SHOWN = 8;
const MEAN = -1;

/** What the network looked at for the token that the reader points at. */
export class AttentionPanel {
  #place;
  #callbacks;
  #token = null;
  #timer = 0;
  #waiting = null;
  #layer = null;
  #head = MEAN;

  /**
   * @param {HTMLElement} place Where it is put.
   * @param {object} callbacks onWeights(token, weights): draw them over the text, null for none;
   *   onError(error).
   */
  constructor(place, callbacks) {
    this.#place = place;
    this.#callbacks = callbacks;
  }

  /** Show another token. */
  show(token) {
    this.#token = token;
    clearTimeout(this.#timer);
    this.#waiting?.abort();
    this.#render();
    const isAnswerable = token.passage.isWhole && token.position > 0 && !token.attention;
    if (isAnswerable && !isNgram(token)) {
      this.#timer = setTimeout(() => this.#ask(token), REST_MILLISECONDS);
    }
  }

  /** The panel is no longer seen: nothing of it stays over the text. */
  hide() {
    clearTimeout(this.#timer);
    this.#waiting?.abort();
    this.#callbacks.onWeights(null, null);
  }

  /** There is no token any more. */
  clear() {
    this.hide();
    this.#place.replaceChildren();
  }

  async #ask(token) {
    this.#waiting = new AbortController();
    const { passage, position } = token;
    // What is predicted for a place comes out at the token before it.
    const body = jsonOf({
      model: passage.model,
      ids: passage.idsBefore(position),
      start: position - 1,
      end: position,
    });
    try {
      const answer = await ask("/v1/attention", body, this.#waiting.signal);
      const { num_layers: numLayers, num_heads: numHeads } = answer;
      const maps = answer.maps.map(({ layer, head, rows }) => ({ layer, head, weights: rows[0] }));
      token.attention = { numLayers, numHeads, maps };
    } catch (error) {
      if (error.name === "AbortError") return;
      if (token === this.#token) {
        this.#place.replaceChildren(make("p", "hint note", `No answer: ${error.message}`));
      }
      this.#callbacks.onError(error);
      return;
    }
    if (token === this.#token) this.#render();
  }

  #render() {
    const token = this.#token;
    const place = this.#place;
    if (isNgram(token) || token.position === 0 || !token.attention) {
      this.#callbacks.onWeights(null, null);
      place.replaceChildren(make("p", "hint note", waitingText(token)));
      return;
    }
    const { numLayers, numHeads, maps } = token.attention;
    this.#layer = Math.min(this.#layer ?? numLayers - 1, numLayers - 1);
    this.#head = Math.min(this.#head, numHeads - 1);
    const weights = this.#weights(maps);
    place.replaceChildren(
      question(token),
      this.#choosers(numLayers, numHeads),
      this.#grid(token.attention),
      list(token, weights),
      make("p", "hint", EXPLANATION),
    );
    this.#callbacks.onWeights(token, weights);
  }

  #weights(maps) {
    const mine = maps.filter(({ layer, head }) =>
      layer === this.#layer && (this.#head === MEAN || head === this.#head));
    return mine[0].weights.map((_, key) =>
      mine.reduce((sum, { weights }) => sum + weights[key], 0) / mine.length);
  }

  #choosers(numLayers, numHeads) {
    const row = make("div", "choosers");
    row.append(
      this.#chooser("Layer", this.#layer, range(numLayers), (layer) => (this.#layer = layer)),
      this.#chooser("Head", this.#head, [MEAN, ...range(numHeads)], (head) => (this.#head = head)),
    );
    return row;
  }

  #chooser(name, chosen, values, set) {
    const label = make("label", "chooser", `${name} `);
    const select = make("select");
    for (const value of values) {
      const text = value === MEAN ? "all, their mean" : String(value + 1);
      select.append(new Option(text, String(value), false, value === chosen));
    }
    select.dataset.chooser = name;
    select.addEventListener("change", () => {
      set(Number(select.value));
      this.#render();
      this.#place.querySelector(`[data-chooser="${name}"]`).focus();
    });
    label.append(select);
    return label;
  }

  // A second way to the same choice, for those who see: how focused each head is.
  #grid({ numLayers, numHeads, maps }) {
    const grid = make("div", "heads");
    grid.setAttribute("aria-hidden", "true");
    grid.style.setProperty("--num-heads", String(numHeads));
    for (const { layer, head, weights } of maps) {
      const cell = makeButton("head", "", () => {
        const isChosen = layer === this.#layer && head === this.#head;
        [this.#layer, this.#head] = [layer, isChosen ? MEAN : head];
        this.#render();
      });
      cell.tabIndex = -1;
      cell.title = `Layer ${layer + 1}, head ${head + 1}`;
      cell.style.setProperty("--focus", String(focusOf(weights)));
      const isIn = layer === this.#layer && (this.#head === MEAN || head === this.#head);
      cell.classList.toggle("is-in", isIn);
      grid.append(cell);
    }
    const corner = make("span", "heads-label", `${numLayers} layers \u2193  ${numHeads} heads \u2192`);
    const frame = make("div", "heads-frame");
    frame.append(corner, grid);
    return frame;
  }
}

const EXPLANATION =
  "Each head of each layer shares out 100 % of its attention among the tokens so far. In the " +
  "squares: the darker, the fewer tokens a head looks at.";

function isNgram(token) {
  return token.passage.model.includes(":ngram");
}

function waitingText(token) {
  if (isNgram(token)) return "An n-gram model has no attention: see the n-gram panel.";
  if (token.position === 0) return "Nothing stands before the first token.";
  if (!token.passage.isWhole) return "Ready once the tokens of the prompt are known.";
  return "Asking where the network looked \u2026";
}

function question({ view }) {
  const line = make("p", "panel-lead");
  const name = make("bdi", "token-name");
  fillAlone(name, view);
  line.append("Where the network looked to predict ", name);
  return line;
}

function list({ passage }, weights) {
  const order = range(weights.length).sort((a, b) => weights[b] - weights[a] || b - a);
  const bars = make("ol", "bars plain-bars");
  const { all } = passage;
  for (const position of order.slice(0, NUM_SHOWN)) {
    const { view } = all[position];
    const item = make("li", "bar");
    const spoken = make("span", "visually-hidden");
    spoken.textContent = `${spokenName(view)}, at place ${position}: ${percent(weights[position])}`;
    const name = make("bdi", "bar-name");
    name.setAttribute("aria-hidden", "true");
    fillAlone(name, view);
    const back = make("span", "bar-rank", `${weights.length - position} back`);
    name.append(back);
    const value = make("span", "bar-value", percent(weights[position]));
    value.setAttribute("aria-hidden", "true");
    item.append(spoken, name, makeTrack(weights[position], "is-attention"), value);
    bars.append(item);
  }
  return bars;
}

// 1 where all attention is on one token, 0 where it is spread evenly.
function focusOf(weights) {
  if (weights.length < 2) return 1;
  const entropy = weights.reduce((sum, w) => (w > 0 ? sum - w * Math.log(w) : sum), 0);
  return Math.max(0, 1 - entropy / Math.log(weights.length));
}

function range(count) {
  return Array.from({ length: count }, (_, index) => index);
}
