// The texts of one session: each beginning, and what was made of it by going on in another way.

import { make, makeButton } from "./element.js";
import { visibleText } from "./readable.js";

const MAX_KEPT = 12;

/** The row of branches above the text. */
export class Branches {
  #place;
  #onChoose;
  #kept = [];

  /**
   * @param {HTMLElement} place Where the row is put.
   * @param {(passage: object) => void} onChoose Called when the reader goes back to one.
   */
  constructor(place, onChoose) {
    this.#place = place;
    this.#onChoose = onChoose;
  }

  /** A new beginning: nothing of the texts before is kept. */
  begin(passage) {
    this.#kept = [{ passage, name: "First" }];
    this.#render(passage);
  }

  /** A text that goes on from another one's middle with another token. */
  add(passage, { position, view }) {
    this.#kept.push({ passage, name: visibleText(view), position });
    // The first one stays: it is where all others come from.
    if (this.#kept.length > MAX_KEPT) this.#kept.splice(1, 1);
    this.#render(passage);
  }

  /** Mark the text that is shown. */
  mark(passage) {
    this.#render(passage);
  }

  #render(shown) {
    this.#place.hidden = this.#kept.length < 2;
    const label = make("span", "branches-label", "Branches");
    const buttons = this.#kept.map(({ passage, name, position }) => {
      const button = makeButton("branch", "", () => this.#onChoose(passage));
      if (position === undefined) {
        button.textContent = name;
      } else {
        const text = make("bdi", "", name);
        button.append(make("span", "branch-place", `${position}\u2009\u21b3`), text);
        button.setAttribute("aria-label", `With ${name} at place ${position}`);
      }
      button.setAttribute("aria-pressed", String(passage === shown));
      return button;
    });
    this.#place.replaceChildren(label, ...buttons);
  }
}
