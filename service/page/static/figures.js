// Below the text: how it ended, its seed, what it used and how fast it came.

const OUTCOMES = {
  end_of_text: "The text ended by itself",
  length: "Reached max tokens",
  stop: "Met a stop",
};

/** The line of figures of one generation. */
export class Figures {
  #place;
  #onSeed;
  #startedAt = 0;
  #firstAt = 0;
  #numTokens = 0;
  #passage = null;

  /**
   * @param {HTMLElement} place A description list.
   * @param {(seed: string) => void} onSeed Called when a seed is to be used again.
   */
  constructor(place, onSeed) {
    this.#place = place;
    this.#onSeed = onSeed;
  }

  /** How the text ended, in words. */
  get outcome() {
    return this.#passage.figures.outcome;
  }

  /** Show what was shown last of a text. */
  showAgain(passage) {
    this.#passage = passage;
    const { outcome, rows, seed } = passage.figures;
    this.#show(outcome, rows, seed);
  }

  /** A text begins; its figures stay with it. */
  begin(passage) {
    this.#passage = passage;
    this.#startedAt = performance.now();
    this.#firstAt = 0;
    this.#numTokens = 0;
    this.#show("Waiting for the first token");
  }

  /** Show how many tokens there are so far. */
  count(number) {
    if (number === this.#numTokens) return;
    if (this.#firstAt === 0) this.#firstAt = performance.now();
    this.#numTokens = number;
    this.#show("Writing", this.#own());
  }

  cancel() {
    this.#show("Cancelled by you", this.#own());
  }

  fail() {
    this.#show("Ended by an error", this.#own());
  }

  /** The server's own figures, from the last event, and the seed in all of its digits. */
  finish(event, seed) {
    const { usage, timings } = event;
    const outcome = OUTCOMES[event.finish_reason] ?? `Ended: ${event.finish_reason}`;
    const rows = [["Tokens", `${usage.completion_tokens} (prompt ${usage.prompt_tokens})`]];
    const first = timings.first_token_seconds;
    if (first !== null && usage.completion_tokens > 1 && timings.total_seconds > first) {
      const rate = (usage.completion_tokens - 1) / (timings.total_seconds - first);
      rows.push(["Speed", `${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s`]);
    }
    if (first !== null) rows.push(["First token", `${Math.round(first * 1000)} ms`]);
    rows.push(["Model", `${event.model}@${event.model_version}`]);
    this.#show(outcome, rows, seed);
  }

  #own() {
    const rows = [["Tokens", String(this.#numTokens)]];
    const seconds = (performance.now() - this.#firstAt) / 1000;
    if (this.#numTokens > 1 && seconds > 0.1) {
      rows.push(["Speed", `${((this.#numTokens - 1) / seconds).toFixed(0)} tokens/s`]);
    }
    return rows;
  }

  #show(outcome, rows = [], seed = null) {
    this.#passage.figures = { outcome, rows, seed };
    const entries = [entry("State", outcome), ...rows.map(([name, text]) => entry(name, text))];
    if (seed !== null) entries.push(this.#seedEntry(seed));
    this.#place.replaceChildren(...entries);
  }

  #seedEntry(seed) {
    const shown = entry("Seed", seed);
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet", textContent: "Use again" });
    button.setAttribute("aria-label", `Use again: seed ${seed}`);
    button.addEventListener("click", () => this.#onSeed(seed));
    shown.lastChild.append(" ", button);
    return shown;
  }
}

function entry(name, text) {
  const pair = document.createElement("div");
  const term = document.createElement("dt");
  term.textContent = name;
  const description = document.createElement("dd");
  description.textContent = text;
  pair.append(term, description);
  return pair;
}
