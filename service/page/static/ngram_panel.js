// The panel of the n-gram sibling: the window of tokens that it looked at, what it counted after
// each part of it, and what it would have said in place of the transformer.

import { ask } from "./api.js";
import { make, makeTrack } from "./element.js";
import { jsonOf } from "./json.js";
import { countOf, fillAlone, percent, spokenName, visibleText } from "./readable.js";

const NUM_LISTED = 5;
const REST_MILLISECONDS = 120;

/** What the n-gram model of the same name holds of the token that the reader points at. */
export class NgramPanel {
  #place;
  #onError;
  #token = null;
  #timer = 0;
  #waiting = null;

  /**
   * @param {HTMLElement} place Where it is put.
   * @param {(error: Error) => void} onError Called when the API refuses.
   */
  constructor(place, onError) {
    this.#place = place;
    this.#onError = onError;
  }

  /** Show another token. */
  show(token) {
    this.#token = token;
    clearTimeout(this.#timer);
    this.#waiting?.abort();
    if (token.position === 0) {
      this.#say("Nothing stands before the first token.");
    } else if (token.ngram) {
      this.#render(token);
    } else if (token.passage.isWhole) {
      this.#timer = setTimeout(() => this.#ask(token), REST_MILLISECONDS);
    }
  }

  /** The panel is no longer seen. */
  hide() {
    clearTimeout(this.#timer);
    this.#waiting?.abort();
  }

  /** There is no token any more. */
  clear() {
    this.hide();
    this.#place.replaceChildren();
  }

  async #ask(token) {
    this.#waiting = new AbortController();
    const { passage, position } = token;
    const body = jsonOf({
      model: siblingOf(passage.model),
      ids: [...passage.idsBefore(position), token.view.id],
      start: position,
      end: position + 1,
      inspect: { candidates: NUM_LISTED },
    });
    try {
      const answer = await ask("/v1/inspect", body, this.#waiting.signal);
      token.ngram = answer.inspections[0];
    } catch (error) {
      if (error.name === "AbortError") return;
      // Without an n-gram model, or without this version any more: the API says which.
      if (token === this.#token) this.#say(`No answer: ${error.message}`);
      if (error.status !== 404) this.#onError(error);
      return;
    }
    if (token === this.#token) this.#render(token);
  }

  #say(text) {
    this.#place.replaceChildren(make("p", "hint note", text));
  }

  #render(token) {
    const { ngram, candidates } = token.ngram;
    this.#place.replaceChildren(
      windowLine(ngram.window, token.view),
      ladder(ngram, token.view),
      make("p", "hint", "What a context passes on, the next shorter one shares out."),
      beside(token, candidates),
    );
  }
}

/** The name of the n-gram model beside a model. */
export function siblingOf(name) {
  if (name.includes(":ngram")) return name;
  const [base, ...version] = name.split("@");
  return [`${base}:ngram`, ...version].join("@");
}

function windowLine(window, view) {
  const line = make("p", "panel-lead");
  line.append("It looked at ");
  const frame = make("bdi", "window");
  for (const token of window) {
    const chip = make("span", "chip");
    fillAlone(chip, token);
    frame.append(chip);
  }
  const next = make("strong", "token-name");
  fillAlone(next, view);
  line.append(frame, " and at nothing before, to predict ", next);
  return line;
}

// From the longest context down: where one is not known, the next shorter one decides.
function ladder({ window, levels }, view) {
  const list = make("ol", "ladder");
  const largest = Math.max(...levels.map(({ probability }) => probability), 1e-12);
  for (const level of [...levels].reverse()) {
    const item = make("li", "level");
    item.classList.toggle("is-unknown", !level.is_known_context);
    const context = make("bdi", "level-context");
    const seen = window.slice(window.length - (level.order - 1));
    if (level.order === 1) context.textContent = "no context";
    for (const token of seen) {
      const chip = make("span", "chip");
      fillAlone(chip, token);
      context.append(chip);
    }
    item.append(context, make("p", "hint", levelText(level, view)));
    if (level.is_known_context) {
      item.append(makeTrack(level.probability / largest, "is-ngram"),
        make("span", "bar-value", percent(level.probability)));
    }
    list.append(item);
  }
  return list;
}

function levelText(level, view) {
  if (!level.is_known_context) return "not known: one token fewer decides";
  const name = visibleText(view);
  if (level.order === 1) return `how frequent ${name} is by itself`;
  const known = countOf(level.num_continuations, "token");
  const own = level.discounted_count > 0
    ? `${name} counts ${round(level.discounted_count)} of ${round(level.discounted_total)}, ` +
      `of ${known} known here`
    : `${name} is not among the ${known} known here`;
  return `${own}; passes on ${percent(level.backoff)}`;
}

function beside(token, candidates) {
  const record = token.record ?? token.detail?.record;
  const place = make("div", "beside");
  if (record && !token.passage.model.includes(":ngram")) {
    place.append(column("Transformer", "is-transformer", record.candidates, token.view));
  }
  place.append(column("N-gram", "is-ngram", candidates, token.view));
  return place;
}

function column(name, kind, candidates, chosen) {
  const part = make("div", `beside-column ${kind}`);
  part.append(make("h3", "beside-name", `${name} expected`));
  const list = make("ol", "bars plain-bars");
  for (const { token, probabilities } of candidates.slice(0, NUM_LISTED)) {
    const item = make("li", "bar");
    item.classList.toggle("is-chosen", token.id === chosen.id);
    const label = make("bdi", "bar-name");
    label.setAttribute("aria-hidden", "true");
    fillAlone(label, token);
    const spoken = make("span", "visually-hidden", `${spokenName(token)}:`);
    item.append(spoken, label, make("span", "bar-value", percent(probabilities[0])));
    list.append(item);
  }
  part.append(list);
  return part;
}

function round(number) {
  return Number(number.toPrecision(3)).toLocaleString("en");
}
