// What a screen reader hears: the text in sentences, not in tokens, and how the request stands.

const MAX_HELD_CHARACTERS = 160;

/** A log that is heard and not seen. */
export class Spoken {
  #place;
  #held = "";

  /** @param {HTMLElement} place An element with aria-live. */
  constructor(place) {
    this.#place = place;
  }

  /** Say something now, and forget what was said before. */
  say(text) {
    this.#held = "";
    this.#place.replaceChildren();
    this.#append(text);
  }

  /** Text of the continuation: said when a sentence is whole. */
  add(text) {
    this.#held += text;
    const end = Math.max(...[". ", "! ", "? ", "\n"].map((mark) => this.#held.lastIndexOf(mark)));
    if (end < 0 && this.#held.length < MAX_HELD_CHARACTERS) return;
    const cut = end < 0 ? this.#held.length : end + 1;
    this.#append(this.#held.slice(0, cut));
    this.#held = this.#held.slice(cut);
  }

  /** The rest of the text, and how it ended. */
  end(outcome) {
    this.#append(this.#held);
    this.#held = "";
    this.#append(outcome);
  }

  #append(text) {
    if (text.trim() === "") return;
    const line = document.createElement("p");
    line.textContent = text;
    this.#place.append(line);
  }
}
