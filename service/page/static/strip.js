// The text as a strip of tokens: each can be pointed at, reached by the arrow keys, and selected.

import { make } from "./element.js";
import { Delivery } from "./delivery.js";
import { addMark, fillRunning, hexOf, partSpace, percent, spokenName, wholeText } from "./readable.js";

const MAX_SURPRISE_BITS = 12;
const MAX_LEAD_TOKENS = 200;
const REPLACEMENT = "\ufffd";

/** The tokens of one passage in the page. */
export class Strip {
  #lead;
  #list;
  #onSelect;
  #tokens = [];
  #byPosition = new Map();
  #delivery = new Delivery();
  #selected = null;
  #isPinned = false;

  /**
   * @param {{lead: HTMLElement, tokens: HTMLElement}} places Where prompt and continuation are put.
   * @param {(token: object) => void} onSelect Called with the token that the reader points at.
   */
  constructor({ lead, tokens }, onSelect) {
    this.#lead = lead;
    this.#list = tokens;
    this.#onSelect = onSelect;
    lead.replaceChildren();
    tokens.replaceChildren();
    const sheet = lead.parentElement;
    sheet.onkeydown = (event) => this.#onKey(event);
    sheet.onclick = (event) => this.#onPoint(event, true);
    sheet.onpointermove = (event) => this.#onHover(event);
  }

  /** How many tokens of the continuation there are. */
  get length() {
    return this.#tokens.filter((token) => !token.isPrompt && !token.endsText).length;
  }

  /** The element of the token at a position, if it is shown. */
  elementAt(position) {
    return this.#byPosition.get(position)?.element ?? null;
  }

  /** Select the token at a position, as if the reader had pointed at it. */
  selectAt(position) {
    const token = this.#byPosition.get(position);
    if (token) this.#select(token);
  }

  /** Show a prompt before its tokens are known. */
  showPrompt(text) {
    // First a cheap cut: a prompt may be a megabyte, and may still be refused.
    const end = Array.from(text.slice(-8 * MAX_LEAD_TOKENS));
    const shown = end.slice(-4 * MAX_LEAD_TOKENS).join("");
    this.#lead.replaceChildren();
    const plain = make("span", "is-given");
    plain.setAttribute("role", "presentation");
    fillRunning(plain, (shown.length < text.length ? "\u2026" : "") + shown);
    this.#lead.append(plain);
  }

  /** Show the tokens of the prompt; they can be selected like any other. */
  showLead(tokens) {
    const shown = tokens.slice(-MAX_LEAD_TOKENS);
    this.#lead.replaceChildren();
    if (shown.length < tokens.length) {
      const more = make("span", "is-given", "\u2026");
      more.setAttribute("role", "presentation");
      this.#lead.append(more);
    }
    const delivery = new Delivery();
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    for (const token of shown) {
      this.#lead.append(this.#build(token));
      delivery.expect(token.view.bytes, (text) => this.#write(token, text));
      delivery.deliver(decoder.decode(Uint8Array.from(token.view.bytes), { stream: true }));
    }
    this.#tokens.unshift(...shown);
    this.#setTabStop();
  }

  /** Show tokens of the continuation, and the text that came with them. */
  add(tokens, text) {
    const fragment = document.createDocumentFragment();
    for (const token of tokens) {
      fragment.append(this.#build(token));
      this.#tokens.push(token);
      if (!token.endsText) {
        this.#delivery.expect(token.view.bytes, (part) => this.#write(token, part));
      }
    }
    this.#list.append(fragment);
    this.#delivery.deliver(text);
    this.#setTabStop();
    if (this.#selected === null && tokens.length > 0) this.#select(tokens[0]);
  }

  #build(token) {
    const { view, record } = token;
    const element = make("span", "token");
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", "false");
    element.tabIndex = -1;
    element.onfocus = () => this.#select(token);
    element.classList.toggle("is-given", Boolean(token.isPrompt && token.isGiven));
    element.classList.toggle("is-branch", Boolean(token.isBranch));
    element.classList.toggle("is-end", Boolean(token.endsText));
    const ink = make("span", "ink");
    element.append(ink);
    const whole = wholeText(view.bytes);
    token.hasReplacement = whole?.includes(REPLACEMENT) ?? false;
    if (view.bytes.length === 0) addMark(ink, token.endsText ? "\u220e" : view.text);
    else if (whole === null) addMark(ink, hexOf(view.bytes));
    const likelihood = record === null ? "" : `; ${percent(2 ** -record.surprise_bits)}`;
    const end = token.endsText ? "; it ended the text" : "";
    element.setAttribute("aria-label", `${spokenName(view)}${likelihood}${end}`);
    if (record !== null) {
      const strength = Math.min(1, record.surprise_bits / MAX_SURPRISE_BITS);
      element.style.setProperty("--surprise", String(strength));
    }
    Object.assign(token, { element, ink });
    this.#byPosition.set(token.position, token);
    return element;
  }

  #write(token, text) {
    // Half a character shows as its bytes; what stands in for it in the text would say less.
    const shown = token.hasReplacement ? text : text.replaceAll(REPLACEMENT, "");
    const isFirst = token.ink.childNodes.length === 0;
    const [space, word] = isFirst ? partSpace(shown) : ["", shown];
    token.ink.before(space);
    fillRunning(token.ink, word);
  }

  #tokenOf(event) {
    const element = event.target.closest(".token");
    return element && this.#tokens.find((token) => token.element === element);
  }

  #onPoint(event, isChoice) {
    const token = this.#tokenOf(event);
    if (!token) return;
    this.#select(token);
    if (!isChoice) return;
    // From here on a mouse on its way to the panels does not lose what they are about.
    this.#isPinned = true;
    this.#focus(token);
  }

  #onHover(event) {
    // Text that grows or scrolls under a resting mouse is nothing that the reader points at.
    const isMoved = event.movementX !== 0 || event.movementY !== 0;
    if (event.pointerType === "mouse" && isMoved && !this.#isPinned) this.#onPoint(event, false);
  }

  #onKey(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const last = this.#tokens.length - 1;
    let index;
    if (event.key in steps) index = this.#tokens.indexOf(this.#selected) + steps[event.key];
    else if (event.key === "Home") index = 0;
    else if (event.key === "End") index = last;
    else return;
    event.preventDefault();
    this.#focus(this.#tokens[Math.max(0, Math.min(last, index))]);
  }

  #focus({ element }) {
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }

  // One of the tokens is reached by Tab: the selected one, else the first that was made.
  #setTabStop() {
    if (this.#selected === null && this.#tokens.length > 0) this.#tokens[0].element.tabIndex = 0;
  }

  #select(token) {
    if (token === this.#selected) return;
    for (const other of this.#tokens) {
      other.element.setAttribute("aria-selected", String(other === token));
      other.element.tabIndex = other === token ? 0 : -1;
    }
    this.#selected = token;
    this.#onSelect(token);
  }
}
