// Which model continues the text, and what is known of it.

import { listModels } from "./api.js";

const POLL_MILLISECONDS = 2000;

/** The choice of a model, asked of the server anew while one is loading or none answers. */
export class ModelPicker {
  #select;
  #facts;
  #callbacks;
  #models = [];
  #hasFailed = false;
  #timer = 0;

  /**
   * @param {HTMLSelectElement} select Where models are chosen.
   * @param {HTMLElement} facts Where the chosen one is described.
   * @param {{onChange: (model: object) => void, onError: (error: Error | null) => void}} callbacks
   *   onError is told null when the server answers again.
   */
  constructor(select, facts, callbacks) {
    this.#select = select;
    this.#facts = facts;
    this.#callbacks = callbacks;
    select.addEventListener("change", () => this.#show());
  }

  /** The chosen model's name, empty until the server named its models. */
  get chosen() {
    return this.#select.value;
  }

  /** Ask which models are served now: a new version may have come. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.#models = await listModels();
    } catch (error) {
      this.#hasFailed = true;
      this.#callbacks.onError(error);
      // A wrong key does not become right by waiting.
      if (!error.isAboutKey) this.#again();
      return;
    }
    if (this.#hasFailed) this.#callbacks.onError(null);
    this.#hasFailed = false;
    const chosen = this.chosen;
    const options = this.#models.map(({ id }) => new Option(id, id, false, id === chosen));
    this.#select.replaceChildren(...options);
    this.#show();
    if (this.#models.some((model) => !model.is_ready)) this.#again();
  }

  #again() {
    this.#timer = setTimeout(() => this.refresh(), POLL_MILLISECONDS);
  }

  #show() {
    const model = this.#models.find(({ id }) => id === this.chosen);
    if (model === undefined) return;
    const facts = [
      `version ${model.version}`,
      `${size(model.num_parameters)} ${model.kind === "ngram" ? "n-grams" : "parameters"}`,
      `${model.context_tokens.toLocaleString("en")} tokens of context`,
    ];
    if (!model.is_ready) facts.push("not ready yet");
    this.#facts.textContent = facts.join(" \u00b7 ");
    this.#callbacks.onChange(model);
  }
}

function size(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(1)} billion`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(1)} million`;
  return number.toLocaleString("en");
}
