// The page: a prompt goes out, tokens come in. Everything it knows, it asks the public API.

import { ApiError, generate } from "./api.js";
import { Continuation } from "./continuation.js";
import { Controls } from "./controls.js";
import { curlCommand } from "./curl.js";
import { Figures } from "./figures.js";
import { KeyField, isKeyHeld } from "./key.js";
import { ModelPicker } from "./models.js";
import { fillRunning } from "./readable.js";
import { NUM_RIVALS, showRivals } from "./rivals.js";
import { Spoken } from "./spoken.js";

const MAX_LEAD_CHARACTERS = 400;

const byId = (id) => document.getElementById(id);
const controls = new Controls(byId("controls"), showBrief);
const figures = new Figures(byId("figures"), (seed) => controls.set("seed", seed));
const spoken = new Spoken(byId("spoken"));
const picker = new ModelPicker(byId("model"), byId("model-facts"), {
  onChange(model) {
    controls.useModel(model);
    showBrief();
  },
  onError(error) {
    if (error === null) clearError();
    else showError(error);
  },
});

const keyField = new KeyField(byId("key-form"), () => {
  clearError();
  showLinks(!isKeyHeld());
  picker.refresh();
});

let running = null;

/** One generation from its request to its end. */
class Run {
  #abort = new AbortController();
  #pending = [];
  #isScheduled = false;
  #continuation;
  #body;
  #seed;

  /**
   * @param {string} body What is sent.
   * @param {string | null} seed As it was typed: JSON's numbers would lose digits beyond 2^53.
   */
  constructor(body, seed) {
    this.#body = body;
    this.#seed = seed;
    this.#continuation = new Continuation(byId("tokens"), (token) => {
      showRivals(byId("rivals-body"), token);
      byId("rivals").classList.add("has-token");
    });
  }

  cancel() {
    this.#abort.abort();
  }

  async start() {
    figures.begin();
    spoken.say("Waiting for the first token.");
    let last = null;
    try {
      for await (const event of generate(this.#body, this.#abort.signal)) {
        if (running !== this) return;
        last = event;
        this.#take(event);
      }
      this.#flush();
      figures.finish(last, this.#seed ?? String(last.parameters.seed));
      spoken.end(figures.outcome);
    } catch (error) {
      this.#flush();
      if (running !== this) return;
      if (error.name === "AbortError") {
        figures.cancel();
        spoken.end("Cancelled.");
      } else {
        figures.fail();
        showError(error);
      }
    } finally {
      if (running === this) endRun();
    }
  }

  // Tokens can come faster than a screen is drawn: each frame shows all that came since the last.
  #take(event) {
    this.#pending.push(event);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const flush = () => this.#flush();
    if (document.hidden) setTimeout(flush, 100);
    else requestAnimationFrame(flush);
  }

  #flush() {
    this.#isScheduled = false;
    if (running !== this) return;
    for (const event of this.#pending.splice(0)) {
      this.#continuation.add(event);
      spoken.add(event.text);
    }
    figures.count(this.#continuation.length);
  }
}

function startRun() {
  running?.cancel();
  clearError();
  showLead(byId("prompt").value);
  byId("intro").hidden = true;
  byId("result").hidden = false;
  byId("result").classList.add("is-running");
  byId("cancel").disabled = false;
  byId("rivals").classList.remove("is-open");
  running = new Run(requestBody(), controls.typed("seed"));
  running.start();
}

function endRun() {
  const wasOnCancel = document.activeElement === byId("cancel");
  running = null;
  byId("result").classList.remove("is-running");
  byId("cancel").disabled = true;
  if (wasOnCancel) byId("start").focus();
  picker.refresh();
}

/** The JSON that is sent, and that the curl command shows. */
function requestBody() {
  const fields = [
    ...(picker.chosen === "" ? [] : [["model", JSON.stringify(picker.chosen)]]),
    ["prompt", JSON.stringify(byId("prompt").value)],
    ...controls.entries(),
    ["logprobs", String(NUM_RIVALS)],
    ["stream", "true"],
  ];
  return `{${fields.map(([name, value]) => `"${name}": ${value}`).join(", ")}}`;
}

function showLead(prompt) {
  const characters = Array.from(prompt.slice(-2 * MAX_LEAD_CHARACTERS));
  const shown = characters.slice(-MAX_LEAD_CHARACTERS).join("");
  const lead = byId("lead");
  lead.replaceChildren();
  fillRunning(lead, (shown.length < prompt.length ? "\u2026" : "") + shown);
}

function showError(error) {
  if (!(error instanceof ApiError)) throw error;
  const place = byId("error");
  place.replaceChildren();
  const message = document.createElement("p");
  // Who has not been asked yet has done nothing wrong.
  const isFirstAsked = error.isAboutKey && !isKeyHeld();
  message.textContent = isFirstAsked ? "This server asks for an API key." : sentence(error.message);
  place.append(message);
  const notes = [];
  if (error.retryAfter) notes.push(`try again in ${error.retryAfter} s`);
  if (error.field) notes.push(`field ${error.field}`);
  if (error.code) notes.push(error.code);
  if (error.requestId && error.status >= 500) notes.push(`request ${error.requestId}`);
  if (notes.length > 0) {
    const note = document.createElement("p");
    note.className = "hint";
    note.textContent = notes.join(" \u00b7 ");
    place.append(note);
  }
  place.hidden = false;
  if (error.isAboutKey) {
    showLinks(false);
    keyField.ask();
  }
  if (controls.markError(error.field)) byId("settings").open = true;
  byId("prompt").setAttribute("aria-invalid", String(error.field === "prompt"));
}

function clearError() {
  byId("error").hidden = true;
  byId("error").replaceChildren();
  controls.markError(null);
  byId("prompt").setAttribute("aria-invalid", "false");
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

// Where a key is asked for, so it is by what the links lead to, and a link cannot show it.
function showLinks(areShown) {
  byId("links").hidden = !areShown;
}

function showBrief() {
  byId("settings-brief").textContent = controls.brief();
}

async function copyCurl() {
  const command = curlCommand(location.origin, requestBody(), { hasKey: isKeyHeld() });
  try {
    await navigator.clipboard.writeText(command);
    const button = byId("copy");
    button.textContent = "Copied";
    spoken.say("The command is copied.");
    setTimeout(() => (button.textContent = "Copy as curl"), 2000);
  } catch {
    // Browsers give the clipboard to secure pages only: show what is to be copied instead.
    byId("curl-command").value = command;
    byId("curl").showModal();
    byId("curl-command").select();
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  startRun();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
    event.preventDefault();
    startRun();
  } else if (event.key === "Escape" && byId("rivals").classList.contains("is-open")) {
    byId("rivals").classList.remove("is-open");
  } else if (event.key === "Escape") {
    running?.cancel();
  }
});
byId("cancel").addEventListener("click", () => running?.cancel());
byId("copy").addEventListener("click", copyCurl);
byId("tokens").addEventListener("click", (event) => {
  if (event.target.closest(".token") === null) return;
  byId("rivals").classList.add("is-open");
  // On a phone the panel now covers the lower part of the text.
  event.target.closest(".token").scrollIntoView({ block: "nearest" });
});
byId("rivals-close").addEventListener("click", () => byId("rivals").classList.remove("is-open"));
if (/Mac|iPhone|iPad/.test(navigator.platform)) byId("start-key").textContent = "\u2318";
byId("settings").open = matchMedia("(min-width: 60rem)").matches;
showLinks(!isKeyHeld());
picker.refresh();
