// The continuation as it grows: one element per token, in order, each with its rivals behind it.
//
// Text and tokens come side by side, but not always in step: a character may need several tokens,
// and text that could begin a stop string is held back. Each token therefore wants the characters
// that its bytes complete, and the text that arrives goes to those who want it, in order.

import { addMark, fillRunning, hexOf, partSpace, percent, spokenName, wholeText } from "./readable.js";

const MAX_SURPRISE_BITS = 10;
const CONTEXT_TOKENS = 16;
const REPLACEMENT = "\ufffd";

/** The tokens of one continuation in the page. */
export class Continuation {
  #list;
  #onSelect;
  #tokens = [];
  #decoder = new TextDecoder("utf-8");
  #firstUnfilled = 0;
  #selected = -1;

  /**
   * @param {HTMLElement} list Where tokens are put.
   * @param {(token: object | null) => void} onSelect Called with what the reader points at.
   */
  constructor(list, onSelect) {
    this.#list = list;
    this.#onSelect = onSelect;
    list.replaceChildren();
    list.onkeydown = (event) => this.#onKey(event);
    list.onclick = (event) => this.#onPoint(event, true);
    list.onpointermove = (event) => this.#onHover(event);
  }

  get length() {
    return this.#tokens.length;
  }

  /** Take one event of the stream. */
  add(event) {
    const fragment = document.createDocumentFragment();
    for (const report of event.logprobs ?? []) fragment.append(this.#newToken(report));
    this.#list.append(fragment);
    this.#deliver(event.text);
    if (this.#selected < 0 && this.#tokens.length > 0) this.#select(0);
  }

  #newToken(report) {
    const wanted = this.#decoder.decode(Uint8Array.from(report.bytes), { stream: true });
    const element = document.createElement("span");
    element.className = "token";
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", "false");
    element.setAttribute("aria-label", `${spokenName(report)}; ${percent(report.logprob)}`);
    element.tabIndex = this.#tokens.length === 0 ? 0 : -1;
    element.dataset.index = String(this.#tokens.length);
    element.onfocus = () => this.#select(Number(element.dataset.index));
    const bits = -report.logprob / Math.LN2;
    element.style.setProperty("--surprise", String(Math.min(1, bits / MAX_SURPRISE_BITS)));
    const ink = document.createElement("span");
    ink.className = "ink";
    element.append(ink);
    const whole = wholeText(report.bytes);
    if (whole === null) addMark(ink, hexOf(report.bytes));
    this.#tokens.push({
      report,
      element,
      ink,
      hasReplacement: whole?.includes(REPLACEMENT) ?? false,
      position: this.#tokens.length,
      numWanted: Array.from(wanted).length,
      text: "",
    });
    return element;
  }

  #deliver(text) {
    let characters = Array.from(text);
    while (characters.length > 0 && this.#tokens.length > 0) {
      const token = this.#tokens[this.#firstUnfilled];
      const isLast = this.#firstUnfilled === this.#tokens.length - 1;
      // The end of the text can hold a replacement for a character that was never finished.
      const missing = token.numWanted - Array.from(token.text).length;
      const taken = isLast ? characters.length : Math.min(missing, characters.length);
      this.#write(token, characters.slice(0, taken).join(""));
      characters = characters.slice(taken);
      if (!isLast && taken === missing) this.#firstUnfilled += 1;
      else if (!isLast) break;
    }
  }

  #write(token, text) {
    token.text += text;
    // Half a character shows as its bytes; what stands in for it in the text would say less.
    const shown = token.hasReplacement ? text : text.replaceAll(REPLACEMENT, "");
    const isFirst = token.ink.childNodes.length === 0;
    const [space, word] = isFirst ? partSpace(shown) : ["", shown];
    token.ink.before(space);
    fillRunning(token.ink, word);
  }

  #onPoint(event, isChoice) {
    const element = event.target.closest(".token");
    if (element === null) return;
    this.#select(Number(element.dataset.index));
    if (isChoice) this.#focus(element);
  }

  #onHover(event) {
    // Text that grows or scrolls under a resting mouse is nothing that the reader points at.
    const isMoved = event.movementX !== 0 || event.movementY !== 0;
    if (event.pointerType === "mouse" && isMoved) this.#onPoint(event, false);
  }

  #onKey(event) {
    const last = this.#tokens.length - 1;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    let index;
    if (event.key in steps) index = this.#selected + steps[event.key];
    else if (event.key === "Home") index = 0;
    else if (event.key === "End") index = last;
    else return;
    event.preventDefault();
    this.#focus(this.#tokens[Math.max(0, Math.min(last, index))].element);
  }

  #focus(element) {
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }

  #select(index) {
    if (index === this.#selected) return;
    const before = this.#tokens[this.#selected];
    if (before) {
      before.element.setAttribute("aria-selected", "false");
      before.element.tabIndex = -1;
    }
    const token = this.#tokens[index];
    token.element.setAttribute("aria-selected", "true");
    token.element.tabIndex = 0;
    this.#selected = index;
    const context = this.#tokens.slice(Math.max(0, index - CONTEXT_TOKENS), index);
    this.#onSelect({ ...token, before: context.map((other) => other.text).join("") });
  }
}
