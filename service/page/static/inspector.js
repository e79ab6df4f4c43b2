// The panels beside the text, one at a time behind tabs, and the token that they are about.

// As phone.css has it.
const NARROW = "(max-width: 61.99rem)";

/** Tabs as a keyboard and a screen reader know them. */
export class Inspector {
  #section;
  #panels;
  #tabs;
  #active;
  #token = null;

  /**
   * @param {HTMLElement} section With buttons of role tab, each of which controls its panel.
   * @param {object} panels By the id of their element; each can show a token and hide.
   */
  constructor(section, panels) {
    this.#section = section;
    this.#panels = panels;
    this.#tabs = Array.from(section.querySelectorAll('[role="tab"]'));
    this.#active = this.#tabs[0];
    for (const tab of this.#tabs) {
      tab.addEventListener("click", () => this.#activate(tab));
      tab.addEventListener("keydown", (event) => this.#onKey(event));
    }
  }

  /** The token that the panels are about; null before there is one. */
  get token() {
    return this.#token;
  }

  /** Show a token in the open panel. */
  show(token) {
    this.#token = token;
    this.#section.classList.add("has-token");
    this.#panel(this.#active).show(token);
  }

  /** Forget the token: its text is no longer there. */
  clear() {
    this.#token = null;
    this.#section.classList.remove("has-token");
    for (const panel of Object.values(this.#panels)) panel.clear();
  }

  /** On a phone the panels come up from below. */
  open() {
    this.#section.classList.add("is-open");
  }

  close() {
    this.#section.classList.remove("is-open");
  }

  /** Whether the panels cover a part of the page; on a wide screen they stand beside the text. */
  get isOpen() {
    return matchMedia(NARROW).matches && this.#section.classList.contains("is-open");
  }

  #panel(tab) {
    return this.#panels[tab.getAttribute("aria-controls")];
  }

  #activate(tab) {
    if (tab !== this.#active) this.#panel(this.#active).hide?.();
    this.#active = tab;
    for (const other of this.#tabs) {
      const isActive = other === tab;
      other.setAttribute("aria-selected", String(isActive));
      other.tabIndex = isActive ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !isActive;
    }
    if (this.#token !== null) this.#panel(tab).show(this.#token);
  }

  #onKey(event) {
    const index = this.#tabs.indexOf(event.target);
    const count = this.#tabs.length;
    const places = {
      ArrowRight: (index + 1) % count, ArrowLeft: (index + count - 1) % count, Home: 0, End: count - 1,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    const tab = this.#tabs[places[event.key]];
    tab.focus();
    this.#activate(tab);
  }
}
