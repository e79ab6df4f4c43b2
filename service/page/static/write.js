// The fields beside the prompt: how long the continuation may be, and the seed that it is drawn by.

import { make } from "./element.js";
import { resetButton } from "./pipeline.js";

const FIELDS = [
  { name: "max_tokens", label: "Max tokens", hint: "Tokens to make at most." },
  {
    name: "seed", label: "Seed",
    hint: "The same seed draws the same numbers; empty draws a fresh one.",
  },
];

/** Put the fields into the page, and let the settings know them. */
export function takeRequestFields(place, settings) {
  for (const { name, label, hint } of FIELDS) {
    const control = make("div", "control field");
    const title = make("label", "field-name", label);
    title.htmlFor = name;
    const input = make("input", "control-value");
    Object.assign(input, { id: name, type: "text", inputMode: "numeric", autocomplete: "off" });
    const note = make("p", "control-hint", hint);
    note.id = `${name}-hint`;
    input.setAttribute("aria-describedby", note.id);
    control.append(title, input, resetButton(name, label, settings), note);
    place.append(control);
    settings.take(name, input);
  }
}
