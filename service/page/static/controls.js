// The controls: what is left alone is not sent, so that the model's own defaults hold.

const CONTROLS = [
  {
    name: "temperature", label: "Temperature", low: 0, high: 2, step: 0.05,
    hint: "Lower is safer, higher is bolder; 0 always takes the likeliest.",
  },
  {
    name: "top_k", label: "Top-k", low: 0, high: 200, step: 1,
    hint: "Only the k likeliest tokens; 0 is off.",
  },
  {
    name: "top_p", label: "Top-p", low: 0.01, high: 1, step: 0.01,
    hint: "Only the likeliest that together reach this probability; 1 is off.",
  },
  {
    name: "min_p", label: "Min-p", low: 0, high: 0.5, step: 0.01,
    hint: "Only tokens at least this fraction as likely as the likeliest; 0 is off.",
  },
  { name: "max_tokens", label: "Max tokens", low: 1, high: 512, step: 1, hint: "Tokens to make." },
];
const SEED_HINT = "The same seed gives the same text; empty draws a fresh one.";

/** The controls of a request. */
export class Controls {
  #inputs = new Map();
  #sliders = new Map();
  #defaults = {};
  #onChange;

  /**
   * @param {HTMLElement} place Where the controls are put.
   * @param {() => void} onChange Called when one was moved.
   */
  constructor(place, onChange) {
    this.#onChange = onChange;
    for (const control of CONTROLS) place.append(this.#build(control));
    place.append(this.#build({ name: "seed", label: "Seed", hint: SEED_HINT }));
  }

  /** Show the defaults of another model. */
  useModel(model) {
    this.#defaults = model.default_parameters;
    for (const { name } of CONTROLS) {
      const input = this.#inputs.get(name);
      input.placeholder = String(this.#defaults[name]);
      if (name === "max_tokens") this.#sliders.get(name).max = String(model.context_tokens);
      this.#show(name);
    }
    this.#inputs.get("seed").placeholder = "fresh";
  }

  /** Fill in a value, as if it had been typed. */
  set(name, text) {
    this.#inputs.get(name).value = text;
    this.#show(name);
    this.#onChange();
  }

  /**
   * What was set, as [name, JSON] pairs. A number is passed on digit by digit, so that a seed of
   * 64 bits stays what was typed; anything else goes as a string, for the API to judge.
   */
  entries() {
    const all = Array.from(this.#inputs.keys(), (name) => [name, this.typed(name)]);
    return all.filter(([, text]) => text !== null).map(([name, text]) => [name, asJson(text)]);
  }

  /** What was typed into one control, null where nothing was. */
  typed(name) {
    return this.#inputs.get(name).value.trim() || null;
  }

  /** One line of what holds now. */
  brief() {
    const of = (name) => this.typed(name) ?? this.#defaults[name];
    return `temperature ${of("temperature")}, top-k ${of("top_k")}`;
  }

  /** Mark the control that an error names, and only that; false where there is none. */
  markError(field) {
    for (const [name, input] of this.#inputs) {
      input.setAttribute("aria-invalid", String(name === field));
    }
    return this.#inputs.has(field);
  }

  #build({ name, label, low, high, step, hint }) {
    const row = make("div", step === undefined ? "control is-wide" : "control");
    const title = make("label", "control-label", label);
    title.htmlFor = name;
    const input = make("input", "control-value");
    // Not of type number: what a person types is judged by the API, which says what is wrong.
    Object.assign(input, { id: name, type: "text", inputMode: "decimal", autocomplete: "off" });
    input.addEventListener("input", () => this.#changed(name));
    const reset = make("button", "control-reset quiet", "\u21ba");
    Object.assign(reset, { type: "button", hidden: true, title: "Back to the default" });
    reset.setAttribute("aria-label", `${label}: back to the default`);
    reset.addEventListener("click", () => {
      this.set(name, "");
      input.focus();
    });
    const note = make("p", "control-hint", hint);
    note.id = `${name}-hint`;
    input.setAttribute("aria-describedby", note.id);
    row.append(title);
    if (step !== undefined) row.append(this.#slider({ name, label, low, high, step }));
    row.append(input, reset, note);
    this.#inputs.set(name, input);
    return row;
  }

  #slider({ name, label, low, high, step }) {
    const slider = make("input", "control-slider");
    Object.assign(slider, { type: "range", min: low, max: high, step });
    slider.setAttribute("aria-label", `${label}, slider`);
    slider.addEventListener("input", () => {
      this.#inputs.get(name).value = slider.value;
      this.#changed(name);
    });
    this.#sliders.set(name, slider);
    return slider;
  }

  #changed(name) {
    this.#show(name);
    this.markError(null);
    this.#onChange();
  }

  #show(name) {
    const input = this.#inputs.get(name);
    const isSet = input.value.trim() !== "";
    input.parentElement.classList.toggle("is-set", isSet);
    input.parentElement.querySelector(".control-reset").hidden = !isSet;
    const slider = this.#sliders.get(name);
    if (slider) slider.value = isSet ? input.value : this.#defaults[name];
  }
}

function asJson(text) {
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text) ? text : JSON.stringify(text);
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  if (text) element.textContent = text;
  return element;
}
