// The API key, where the server asks for one. It lives in this tab: a reload keeps it, closing the
// tab forgets it, and no later visitor or request that we did not make ever has it. A tab that is
// duplicated takes it along, as browsers do with all that a tab keeps.

const STORE = "nextword-api-key";

let held = stored();

/** The headers that show the key; none while there is no key. */
export function keyHeaders() {
  return held === "" ? {} : { authorization: `Bearer ${held}` };
}

/** Whether there is a key. */
export function isKeyHeld() {
  return held !== "";
}

/** The field that asks for the key once the server has refused to go on without one. */
export class KeyField {
  #form;
  #input;
  #onKey;

  /**
   * @param {HTMLFormElement} form With the field "key" and the buttons "use" and "forget".
   * @param {() => void} onKey Called when there is another key to try, or none any more.
   */
  constructor(form, onKey) {
    this.#form = form;
    this.#input = form.elements.namedItem("key");
    this.#onKey = onKey;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#hold(this.#input.value.trim());
    });
    form.elements.namedItem("forget").addEventListener("click", () => this.#hold(""));
    this.#show(isKeyHeld());
  }

  /** Ask for a key: there is none, or it was refused. */
  ask() {
    this.#form.hidden = false;
    this.#show(false);
    this.#input.setAttribute("aria-invalid", String(isKeyHeld()));
    this.#input.focus();
  }

  #hold(key) {
    held = key;
    store(key);
    this.#input.value = "";
    this.#show(isKeyHeld());
    this.#onKey();
  }

  #show(isInUse) {
    if (isInUse) this.#form.hidden = false;
    this.#form.classList.toggle("is-held", isInUse);
  }
}

function stored() {
  try {
    return sessionStorage.getItem(STORE) ?? "";
  } catch {
    // A browser may refuse storage altogether: the key then lives as long as this page.
    return "";
  }
}

function store(key) {
  try {
    if (key === "") sessionStorage.removeItem(STORE);
    else sessionStorage.setItem(STORE, key);
  } catch {
    // As above.
  }
}
