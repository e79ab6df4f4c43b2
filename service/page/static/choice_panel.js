// The panel of one choice: what was drawn and from what, and what other settings would draw.

import { ask } from "./api.js";
import { barHead, candidateList } from "./bars.js";
import { agree, computedChoice, recordedChoice } from "./choice.js";
import { make, makeButton } from "./element.js";
import { readFloats } from "./logits.js";
import { jsonOf } from "./json.js";
import { numberLine } from "./number_line.js";
import { fillAlone, fillRunning, percent, visibleText, countOf } from "./readable.js";
import { areSame } from "./settings.js";

export const NUM_CANDIDATES = 10;
const NUM_NAMED = 200;
const REST_MILLISECONDS = 120;
const CONTEXT_TOKENS = 12;
const NOT_REPRODUCED = "Something beyond these sliders acted here: this is what was used.";

/** How the token that the reader points at was chosen. */
export class ChoicePanel {
  #body;
  #pipeline;
  #settings;
  #callbacks;
  #token = null;
  #timer = 0;
  #waiting = null;

  /**
   * @param {HTMLElement} body Where everything but the stages is put.
   * @param {object} parts pipeline and settings of the page; onBranch(token, view): go on with
   *   another token; onError(error).
   */
  constructor(body, { pipeline, settings, onBranch, onError }) {
    this.#body = body;
    this.#pipeline = pipeline;
    this.#settings = settings;
    this.#callbacks = { onBranch, onError };
  }

  /** Show another token; what its record does not hold is asked for once the reader rests on it. */
  show(token) {
    this.#token = token;
    this.refresh();
    clearTimeout(this.#timer);
    this.#waiting?.abort();
    const { isWhole, settings } = token.origin;
    if (token.detail || !isWhole || settings === null || token.position === 0) return;
    this.#timer = setTimeout(() => this.#ask(token), REST_MILLISECONDS);
  }

  /** There is no token any more. */
  clear() {
    clearTimeout(this.#timer);
    this.#waiting?.abort();
    this.#token = null;
    this.#pipeline.show(null);
    this.#body.replaceChildren();
  }

  /** Show the same token anew: a slider was moved, or more is known. */
  refresh() {
    const token = this.#token;
    if (token === null) return;
    const record = token.detail?.record ?? token.record;
    if (record === null) {
      this.#pipeline.show(null);
      this.#body.replaceChildren(heading(token), this.#unknown(token));
      return;
    }
    const now = this.#settings.snapshot();
    const used = token.origin.settings;
    const isOtherSeed = now?.seed != null && now.seed !== token.origin.seed;
    const isAsUsed = used === null || (now !== null && areSame(now, used) && !isOtherSeed);
    const recorded = recordedChoice(token.record ?? record);
    // Computed anew, a choice has all stretches of the line; recorded, those of the candidates.
    const asUsed = (used && this.#computed(token, { ...used, seed: null })) ?? recorded;
    const choice = isAsUsed || now === null
      ? asUsed
      : this.#computed(token, { ...now, seed: isOtherSeed ? now.seed : null });
    this.#pipeline.show((choice ?? asUsed).stages);
    this.#body.replaceChildren(heading(token));
    if (now === null) this.#body.append(note("A setting is no number that it can be."));
    if (choice === null) {
      const isAsked = token.detail === undefined;
      this.#body.append(note(isAsked ? failed(token) ?? "Asking for the logits \u2026" : NOT_REPRODUCED));
    }
    const shown = choice ?? asUsed;
    if (!isAsUsed && choice !== null) this.#body.append(this.#whatIf(token, shown));
    this.#body.append(
      barHead(),
      candidateList(fewest(shown, token), {
        chosenId: token.view.id,
        rank: (token.record ?? record).rank,
        // Without the ids of the prompt there is nothing yet to go on from.
        onBranch: token.passage.isWhole
          ? (view) => this.#callbacks.onBranch(token, view)
          : undefined,
      }),
      this.#line(token, shown),
      facts(token, token.record ?? record),
    );
  }

  async #ask(token) {
    const { origin: passage, position } = token;
    this.#waiting = new AbortController();
    try {
      const { seed: _, ...parameters } = passage.settings;
      const body = jsonOf({
        model: passage.model,
        ids: [...passage.idsBefore(position), token.view.id],
        start: position,
        end: position + 1,
        num_prompt_tokens: Math.min(passage.numPromptTokens, position + 1),
        ...parameters,
        inspect: { candidates: NUM_NAMED, logits: true },
      }, passage.seed === null ? [] : [["seed", passage.seed]]);
      const [record] = (await ask("/v1/inspect", body, this.#waiting.signal)).inspections;
      token.detail = { record, logits: readFloats(record.logits) };
      token.detail.isReproduced = isReproduced(token);
    } catch (error) {
      if (error.name === "AbortError") return;
      token.failure = error.message;
      if (token === this.#token) this.refresh();
      this.#callbacks.onError(error);
      return;
    }
    token.failure = undefined;
    if (token === this.#token) this.refresh();
  }

  // Null while the logits are on their way, and where this page is not the sampler's equal.
  #computed(token, settings) {
    if (!token.detail?.isReproduced) return null;
    const { origin: passage, position } = token;
    const known = {
      logits: token.detail.logits,
      idsBefore: passage.idsBefore(position),
      numPromptIds: passage.numPromptTokens,
    };
    const record = { ...token.detail.record, ...drawnBy(token.record ?? token.detail.record) };
    return computedChoice(record, known, settings);
  }

  #unknown(token) {
    if (token.position === 0) return note("Nothing stands before the first token: it was given.");
    if (token.failure) return note(failed(token));
    return note(token.passage.isWhole ? "Asking what the model thought here \u2026" : "\u2026");
  }

  #whatIf({ view }, choice) {
    const line = make("p", "what-if");
    const drawn = this.#viewOf(choice.drawnId);
    const isOther = choice.drawnId !== view.id;
    const name = make("bdi", "token-name");
    if (drawn) fillAlone(name, drawn);
    else name.textContent = `token ${choice.drawnId}`;
    const undo = makeButton("quiet", "Undo", () =>
      this.#settings.restore(this.#token.origin.settings));
    undo.setAttribute("aria-label", "Undo: back to what was used");
    line.append(
      make("strong", "", "What if: "),
      isOther ? "these settings would draw " : "these settings draw the same, ",
      name, ". ",
      undo,
    );
    return line;
  }

  #line(token, choice) {
    const place = make("div", "line-place");
    place.append(numberLine(choice, (id) => this.#viewOf(id), token.view.id));
    return place;
  }

  #viewOf(id) {
    const { view, record, detail } = this.#token;
    if (view.id === id) return view;
    const listed = [...(detail?.record.candidates ?? []), ...(record?.candidates ?? [])];
    return listed.find((candidate) => candidate.token.id === id)?.token;
  }
}

/** Whether the page computes what the server recorded; tests ask it of real choices. */
export function isReproduced(token) {
  const { origin, position, detail } = token;
  const known = {
    logits: detail.logits,
    idsBefore: origin.idsBefore(position),
    numPromptIds: origin.numPromptTokens,
  };
  // Of two looks at one choice the later could be another version's: both must be what is computed.
  const records = token.record === null ? [detail.record] : [detail.record, token.record];
  return records.every((record) =>
    agree(computedChoice(record, known, { ...origin.settings, seed: null }), recordedChoice(record)));
}

// The number belongs to the choice that was made, not to a later look at it.
function drawnBy({ random_word, random_number }) {
  return { random_word, random_number };
}

// The likeliest, the token itself, and what would be drawn; the others as their sum.
function fewest(choice, { view }) {
  const candidates = choice.candidates.filter(({ view: { id } }, index) =>
    index < NUM_CANDIDATES || id === view.id || id === choice.drawnId);
  const rest = (key) => Math.max(0, 1 - candidates.reduce((sum, each) => sum + each[key], 0));
  return { ...choice, candidates, othersBefore: rest("before"), othersAfter: rest("after") };
}

function heading({ passage, position, view }) {
  const line = make("p", "choice");
  const context = make("span", "choice-before");
  const before = passage.lastBefore(position, CONTEXT_TOKENS);
  const bytes = before.flatMap((token) => token.view.bytes);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const text = decoder.decode(Uint8Array.from(bytes)).replaceAll("\ufffd", "");
  fillRunning(context, text);
  const chosen = make("strong", "choice-token");
  fillAlone(chosen, view);
  const bidi = make("bdi");
  bidi.append(context, " ", chosen);
  line.append(bidi);
  return line;
}

function facts({ view, position, endsText }, record) {
  const rank = record.rank === 1 ? "the likeliest" : `no. ${record.rank.toLocaleString("en")}`;
  const line = make("p", "hint facts-line");
  const bits = countOf(Number(record.surprise_bits.toFixed(1)), "bit");
  const chance = percent(record.chosen_probability);
  line.textContent =
    `${visibleText(view)} is token ${view.id}, at place ${position}: ${rank} to the model, ` +
    `${bits} of surprise; drawn with ${chance}${endsText ? ". It ended the text." : "."}`;
  return line;
}

function failed({ failure }) {
  return failure && `No answer: ${failure}`;
}

function note(text) {
  return make("p", "hint note", text);
}
