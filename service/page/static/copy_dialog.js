// The request to take along: as a command for curl or grpcurl, or as a Python program.

import { COMMANDS, GRPC_PORT } from "./commands.js";
import { makeButton } from "./element.js";

/** A dialog with the command in each language, and a button that copies it. */
export class CopyDialog {
  #text;
  #status;
  #request = null;
  #choice = "curl";
  #buttons = new Map();

  /**
   * @param {HTMLDialogElement} dialog With a field, a place for the languages and a copy button.
   * @param {() => object} request The request as it stands now.
   */
  constructor(dialog, request) {
    this.#text = dialog.querySelector("textarea");
    this.#status = dialog.querySelector('[role="status"]');
    const languages = dialog.querySelector(".languages");
    for (const name of Object.keys(COMMANDS)) {
      const button = makeButton("language", name, () => this.#show(name));
      this.#buttons.set(name, button);
      languages.append(button);
    }
    dialog.querySelector(".copy-now").addEventListener("click", () => this.#copy());
    this.open = () => {
      this.#request = request();
      this.#show(this.#choice);
      dialog.showModal();
    };
  }

  #show(name) {
    this.#choice = name;
    const isPortGuessed = name === "grpcurl" && this.#request.origin.startsWith("http:");
    this.#status.textContent = isPortGuessed ? `Port ${GRPC_PORT}, unless --grpc-port said other.` : "";
    this.#text.value = COMMANDS[name](this.#request);
    for (const [each, button] of this.#buttons) {
      button.setAttribute("aria-pressed", String(each === name));
    }
  }

  async #copy() {
    this.#text.select();
    try {
      await navigator.clipboard.writeText(this.#text.value);
      this.#status.textContent = "Copied.";
    } catch {
      // Browsers give the clipboard to secure pages only.
      this.#status.textContent = "Selected: the browser's own Copy takes it from here.";
    }
  }
}
