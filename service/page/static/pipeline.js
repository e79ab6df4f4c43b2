// The sampler as a column of stages: what each is set to, how many tokens it left, and how
// uncertain the choice among them still was.

import { make, makeButton } from "./element.js";
import { SLIDERS } from "./settings.js";

const LABELS = { model: "Model", penalties: "Penalties", bias: "Bias" };

/** The rows of the stages, with the sliders in them. */
export class Pipeline {
  #rows = new Map();

  /**
   * @param {HTMLElement} place Where the rows are put.
   * @param {object} settings Takes up the fields.
   */
  constructor(place, settings) {
    const head = make("div", "stage stage-head");
    head.setAttribute("aria-hidden", "true");
    const left = make("span", "stage-kept", "tokens left");
    left.title = "Tokens that can still be drawn after this stage";
    const bits = make("span", "stage-bits", "bits");
    bits.title = "How uncertain the choice still is: the entropy";
    head.append(make("span", "stage-name", "Stage"), left, bits);
    place.append(head);
    for (const name of ["model", "penalties", "bias"]) {
      place.append(this.#row(name, make("span", "stage-name", LABELS[name])));
    }
    for (const slider of SLIDERS) place.append(this.#sliderRow(slider, settings));
  }

  /** Show what each stage left; null empties the figures. */
  show(stages) {
    for (const [name, { row, kept, bits, spoken }] of this.#rows) {
      const stage = stages?.find((each) => each.name === name);
      kept.textContent = stage ? stage.kept.toLocaleString("en") : "";
      bits.textContent = stage ? stage.entropyBits.toFixed(2) : "";
      spoken.textContent = stage
        ? `${stage.kept} tokens left, ${stage.entropyBits.toFixed(2)} bits`
        : "";
      row.classList.toggle("is-idle", Boolean(stage) && !stage.changes);
      // Most requests have neither penalties nor bias: nothing to see there then.
      if (name === "penalties" || name === "bias") row.hidden = !stage?.changes;
    }
  }

  #row(name, ...parts) {
    const row = make("div", "stage");
    row.dataset.stage = name;
    const kept = make("span", "stage-kept");
    const bits = make("span", "stage-bits");
    const spoken = make("span", "visually-hidden");
    for (const shown of [kept, bits]) shown.setAttribute("aria-hidden", "true");
    row.append(...parts, kept, bits, spoken);
    row.hidden = name === "penalties" || name === "bias";
    this.#rows.set(name, { row, kept, bits, spoken });
    return row;
  }

  #sliderRow({ name, label, low, high, step, hint }, settings) {
    const title = make("label", "stage-name", label);
    title.htmlFor = name;
    const input = make("input", "control-value");
    // Not of type number: what a person types is judged by the API, which says what is wrong.
    Object.assign(input, { id: name, type: "text", inputMode: "decimal", autocomplete: "off" });
    const note = make("p", "control-hint", hint);
    note.id = `${name}-hint`;
    input.setAttribute("aria-describedby", note.id);
    const slider = make("input", "control-slider");
    Object.assign(slider, { type: "range", min: low, max: high, step });
    slider.setAttribute("aria-label", `${label}, slider`);
    const reset = resetButton(name, label, settings);
    const row = this.#row(name, title, slider, input, reset);
    row.append(note);
    row.classList.add("control");
    settings.take(name, input, slider);
    return row;
  }
}

/** The button that brings a field back to its default. */
export function resetButton(name, label, settings) {
  const reset = makeButton("control-reset quiet", "\u21ba", () => {
    settings.set(name, "");
    reset.closest(".control").querySelector(".control-value").focus();
  });
  Object.assign(reset, { hidden: true, title: "Back to the default" });
  reset.setAttribute("aria-label", `${label}: back to the default`);
  return reset;
}
