// What can be set. What is left alone is not sent, so that the model's own defaults hold.

export const SLIDERS = [
  {
    name: "temperature", label: "Temperature", low: 0, high: 2, step: 0.05, most: 100,
    hint: "Divides the logits: lower is safer, higher is bolder; 0 always takes the likeliest.",
  },
  {
    name: "top_k", label: "Top-k", low: 0, high: 200, step: 1, most: 2 ** 31 - 1,
    hint: "Keeps only the k likeliest tokens; 0 is off.",
  },
  {
    name: "top_p", label: "Top-p", low: 0.01, high: 1, step: 0.01, most: 1,
    hint: "Keeps the likeliest that together reach this probability; 1 is off.",
  },
  {
    name: "min_p", label: "Min-p", low: 0, high: 0.5, step: 0.01, most: 1,
    hint: "Keeps tokens at least this fraction as likely as the likeliest; 0 is off.",
  },
];
const PENALTIES = ["repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias"];
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/;

/** The fields of the page that say how to generate: some with a slider, some without. */
export class Settings {
  #inputs = new Map();
  #sliders = new Map();
  #defaults = {};
  #onChange;

  /** @param {() => void} onChange Called when something was set. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Take up a field, and its slider where it has one. */
  take(name, input, slider = null) {
    this.#inputs.set(name, input);
    input.addEventListener("input", () => this.#changed(name));
    if (slider === null) return;
    this.#sliders.set(name, slider);
    slider.addEventListener("input", () => {
      input.value = slider.value;
      this.#changed(name);
    });
  }

  /** Show the defaults of another model. */
  useModel(model) {
    this.#defaults = model.default_parameters;
    for (const [name, input] of this.#inputs) {
      input.placeholder = name === "seed" ? "fresh" : String(this.#defaults[name]);
      this.#show(name);
    }
  }

  /** Fill in a value, as if it had been typed; empty is back to the default. */
  set(name, text) {
    this.#inputs.get(name).value = text;
    this.#changed(name);
  }

  /** What was typed into one field, null where nothing was. */
  typed(name) {
    return this.#inputs.get(name).value.trim() || null;
  }

  /**
   * What was set, as [name, JSON] pairs. A number is passed on digit by digit, so that a seed of
   * 64 bits stays what was typed; anything else goes as a string, for the API to judge.
   */
  entries() {
    const all = Array.from(this.#inputs.keys(), (name) => [name, this.typed(name)]);
    return all.filter(([, text]) => text !== null).map(([name, text]) => [name, asJson(text)]);
  }

  /** The parameters of the model at hand where nothing is set. */
  get defaults() {
    return this.#defaults;
  }

  /**
   * What holds now for one token, or null while a field holds what is no number in its range.
   * The seed is text, or null where the server would draw one.
   * @param {object} defaults What holds where nothing is set.
   */
  snapshot(defaults = this.#defaults) {
    const values = {};
    for (const name of PENALTIES) values[name] = defaults[name];
    for (const { name, most } of SLIDERS) {
      const text = this.typed(name) ?? String(defaults[name]);
      const value = NUMBER.test(text) ? Number(text) : NaN;
      const least = { top_k: -1, top_p: Number.MIN_VALUE }[name] ?? 0;
      const isInRange = value >= least && value <= most;
      if (!isInRange || (name === "top_k" && !Number.isInteger(value))) return null;
      values[name] = value;
    }
    const seed = this.typed("seed");
    if (seed !== null && !(/^\d{1,20}$/.test(seed) && BigInt(seed) < 2n ** 64n)) return null;
    return { ...values, seed };
  }

  /** Set what differs from a snapshot back to it. */
  restore(snapshot) {
    for (const { name } of SLIDERS) {
      const isDefault = snapshot[name] === this.#defaults[name];
      this.set(name, isDefault ? "" : String(snapshot[name]));
    }
    this.set("seed", snapshot.seed ?? "");
  }

  /** Mark the field that an error names, and only that; false where there is none. */
  markError(field) {
    for (const [name, input] of this.#inputs) {
      input.setAttribute("aria-invalid", String(name === field));
    }
    return this.#inputs.has(field);
  }

  #changed(name) {
    this.#show(name);
    this.markError(null);
    this.#onChange();
  }

  #show(name) {
    const input = this.#inputs.get(name);
    const isSet = input.value.trim() !== "";
    input.closest(".control").classList.toggle("is-set", isSet);
    input.closest(".control").querySelector(".control-reset").hidden = !isSet;
    const slider = this.#sliders.get(name);
    if (!slider) return;
    slider.value = isSet ? input.value : this.#defaults[name];
    const share = (slider.value - slider.min) / (slider.max - slider.min);
    slider.style.setProperty("--share", String(share));
  }
}

/** Whether two snapshots treat every distribution alike; the seed is another matter. */
export function areSame(one, other) {
  return SLIDERS.every(({ name }) => one[name] === other[name]);
}

function asJson(text) {
  return NUMBER.test(text) ? text : JSON.stringify(text);
}
