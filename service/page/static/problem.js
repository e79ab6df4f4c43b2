// What went wrong, in the API's own words, beside the field that it names.

import { ApiError } from "./api.js";
import { make } from "./element.js";

/** The place where errors are shown. */
export class Problem {
  #place;

  /** @param {HTMLElement} place An element of role alert. */
  constructor(place) {
    this.#place = place;
  }

  /**
   * Show an error of the API.
   * @param {Error} error What else was thrown is a fault of this page, and is thrown on.
   * @param {{isFirstAsked: boolean}} about Whether it only asks for a key for the first time.
   */
  show(error, { isFirstAsked }) {
    if (!(error instanceof ApiError)) throw error;
    const message = isFirstAsked ? "This server asks for an API key." : sentence(error.message);
    this.#place.replaceChildren(make("p", "", message));
    const notes = [];
    if (error.retryAfter) notes.push(`try again in ${error.retryAfter} s`);
    if (error.field) notes.push(`field ${error.field}`);
    if (error.code) notes.push(error.code);
    if (error.requestId && error.status >= 500) notes.push(`request ${error.requestId}`);
    if (notes.length > 0) this.#place.append(make("p", "hint", notes.join(" \u00b7 ")));
    this.#place.hidden = false;
  }

  clear() {
    this.#place.hidden = true;
    this.#place.replaceChildren();
  }
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
