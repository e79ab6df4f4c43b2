// The panel of neighbours: which tokens the network holds to be most like a word, and the word's
// own vector as a strip of stripes.

import { ask } from "./api.js";
import { make, makeButton, makeTrack } from "./element.js";
import { jsonOf } from "./json.js";
import { fillAlone, spokenName, visibleText } from "./readable.js";

const NUM_NEIGHBOURS = 14;
const REST_MILLISECONDS = 120;
const NO_VECTORS = "An n-gram model holds counts and no vectors.";

/** The neighbours of the token that the reader points at, or of a word that was typed. */
export class NeighboursPanel {
  #place;
  #field;
  #onError;
  #model = null;
  #chosen = null;
  #timer = 0;
  #waiting = null;
  #known = new Map();

  /**
   * @param {HTMLElement} place Where it is put.
   * @param {(error: Error) => void} onError Called when the API refuses.
   */
  constructor(place, onError) {
    this.#onError = onError;
    const form = make("form", "word-form");
    const label = make("label", "", "Word");
    label.htmlFor = "word";
    this.#field = make("input", "word-field");
    Object.assign(this.#field, { id: "word", autocomplete: "off", spellcheck: false });
    this.#field.placeholder = "one token, as \u2423king";
    const button = make("button", "", "Find");
    form.append(label, this.#field, button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      // A space cannot be seen in a field; its mark can.
      const text = this.#field.value.replaceAll("\u2423", " ");
      if (text !== "") this.#ask({ text });
    });
    this.#place = make("div");
    place.append(form, this.#place);
  }

  /** Show another token. */
  show(token) {
    this.hide();
    this.#model = token.passage.model;
    if (isNgram(this.#model)) {
      this.#say(NO_VECTORS);
      return;
    }
    this.#timer = setTimeout(() => this.#ask({ id: token.view.id }), REST_MILLISECONDS);
  }

  /** The model that words are looked up in while no token is selected. */
  useModel(name) {
    this.#chosen = name;
  }

  /** The panel is no longer seen. */
  hide() {
    clearTimeout(this.#timer);
    this.#waiting?.abort();
  }

  /** There is no token any more. */
  clear() {
    this.hide();
    this.#model = null;
    this.#place.replaceChildren();
  }

  async #ask(what) {
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    const model = this.#model ?? this.#chosen;
    if (isNgram(model)) {
      this.#say(NO_VECTORS);
      return;
    }
    const body = jsonOf({ model, ...what, neighbours: NUM_NEIGHBOURS });
    const known = this.#known.get(body);
    if (known) {
      this.#render(known);
      return;
    }
    try {
      const answer = await ask("/v1/embedding", body, this.#waiting.signal);
      this.#known.set(body, answer);
      this.#render(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      // What was typed may be two tokens: that is the reader's to see here, at the field.
      if ("text" in what && error.status === 400) this.#say(error.message);
      else this.#onError(error);
    }
  }

  #say(text) {
    this.#place.replaceChildren(make("p", "hint note", text));
  }

  #render({ token, vector, norm, neighbours }) {
    this.#field.value = visibleText(token);
    const lead = make("p", "panel-lead");
    const name = make("bdi", "token-name");
    fillAlone(name, token);
    lead.append("Closest to ", name, " by the cosine of their vectors");
    const list = make("ol", "bars plain-bars neighbours");
    for (const { token: other, cosine } of neighbours) list.append(this.#row(other, cosine));
    this.#place.replaceChildren(lead, list, stripes(token, vector, norm));
  }

  #row(token, cosine) {
    const item = make("li", "bar");
    const button = makeButton("bar-name word-link", "", () => this.#ask({ id: token.id }));
    const name = make("bdi");
    fillAlone(name, token);
    button.append(name);
    button.setAttribute("aria-label", `${spokenName(token)}: cosine ${cosine.toFixed(3)}`);
    const value = make("span", "bar-value", cosine.toFixed(3));
    value.setAttribute("aria-hidden", "true");
    item.append(button, makeTrack(cosine, "is-cosine"), value);
    return item;
  }
}

function isNgram(model) {
  return model?.includes(":ngram") ?? false;
}

function stripes(token, vector, norm) {
  const figure = make("figure", "vector");
  const canvas = make("canvas", "stripes");
  canvas.width = vector.length;
  canvas.height = 1;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `The ${vector.length} numbers of ${visibleText(token)} as stripes`);
  const style = getComputedStyle(document.documentElement);
  const [below, above] = ["--surprise-ink", "--accent"].map((name) => style.getPropertyValue(name));
  const context = canvas.getContext("2d");
  const largest = Math.max(...vector.map(Math.abs), 1e-12);
  vector.forEach((number, index) => {
    context.globalAlpha = Math.abs(number) / largest;
    context.fillStyle = number < 0 ? below : above;
    context.fillRect(index, 0, 1, 1);
  });
  const caption = make("figcaption", "hint");
  caption.textContent =
    `Its vector: ${vector.length} numbers, length ${norm.toFixed(2)}; one stripe each, ` +
    "the stronger the further from zero.";
  figure.append(canvas, caption);
  return figure;
}
