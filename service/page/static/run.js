// One generation from its request to its end: events of the stream become tokens of a passage.

import { ask, generate } from "./api.js";
import { jsonOf } from "./json.js";

/** A stream that fills a passage, and tells what came frame by frame. */
export class Run {
  #abort = new AbortController();
  #asking = new AbortController();
  #pending = [];
  #isScheduled = false;
  #isLeft = false;
  #handlers;

  /**
   * @param {object} passage What it fills.
   * @param {object} request body: JSON that is sent; prompt: its text, null where ids were sent.
   * @param {object} handlers onTokens(tokens, text), onPrompt(), onPromptError(error),
   *   onEnd(event), onCancel(), onError(error), onDone().
   */
  constructor(passage, { body, prompt }, handlers) {
    this.passage = passage;
    this.#handlers = handlers;
    this.start = () => this.#run(body, prompt);
  }

  /** End it; what has come so far stays. */
  cancel() {
    this.#abort.abort();
  }

  /** End it, and tell nothing more, be it over or not: another one takes its place. */
  leave() {
    this.#isLeft = true;
    this.#abort.abort();
    this.#asking.abort();
  }

  async #run(body, prompt) {
    const { onEnd, onCancel, onError, onDone } = this.#handlers;
    let last = null;
    let asked = null;
    try {
      for await (const event of generate(body, this.#abort.signal)) {
        if (this.#isLeft) return;
        last = event;
        const [first] = event.inspections ?? [];
        if (prompt !== null && asked === null && first) asked = this.#askPrompt(prompt, first);
        this.#take(event);
      }
      this.#flush();
      await asked;
      if (this.#isLeft) return;
      onEnd(last);
    } catch (error) {
      this.#flush();
      if (this.#isLeft) return;
      if (error.name === "AbortError") onCancel();
      else onError(error);
    } finally {
      if (!this.#isLeft) onDone();
    }
  }

  // The ids of the prompt, once the first token is there: nothing shall come before that.
  async #askPrompt(text, { position }) {
    const { model } = this.passage;
    // A text that was cancelled stays on the page, and still wants to know its prompt.
    const { signal } = this.#asking;
    try {
      let views = await tokenized(model, text, signal);
      // Some tokenizers begin a text with a token of their own.
      if (views.length !== position) views = await inspected(model, text, signal);
      if (this.#isLeft || views.length !== position) return;
      this.passage.setPrompt(views);
      this.#flush();
      this.#handlers.onPrompt();
    } catch (error) {
      // The text goes on without: only what asks about it has to wait.
      if (!this.#isLeft) this.#handlers.onPromptError(error);
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
    if (this.#isLeft || this.#pending.length === 0) return;
    const events = this.#pending.splice(0);
    for (const { inspections, text } of events) {
      const tokens = (inspections ?? []).map((record) => this.passage.add(record));
      this.#handlers.onTokens(tokens, text);
    }
  }
}

async function tokenized(model, text, signal) {
  const { tokens } = await ask("/v1/tokenize", jsonOf({ model, text }), signal);
  const bytes = new TextEncoder().encode(text);
  return tokens.map(({ id, text: shown, start, end }) => ({
    id, text: shown, bytes: Array.from(bytes.subarray(start, end)),
  }));
}

async function inspected(model, text, signal) {
  const body = jsonOf({ model, text, end: 2, inspect: { candidates: 1 } });
  const { tokens } = await ask("/v1/inspect", body, signal);
  return tokens.map(({ token }) => token);
}
