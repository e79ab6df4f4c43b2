// A text as its tokens: what was given, what was made of it, and how each came about.

/** One text from its prompt to its last token. */
export class Passage {
  #ids = [];

  /**
   * @param {object} about model: its name; defaults: that model's own parameters; settings: in
   *   force when it was made, by name, the seed as text or null where the server drew one.
   */
  constructor({ model, defaults, settings }) {
    this.model = model;
    this.defaults = defaults;
    this.settings = settings;
    this.tokens = [];
    this.text = "";
    this.numPromptTokens = 0;
  }

  /**
   * Put in the prompt, as soon as its tokens are known.
   * @param {object[]} views Tokens as the API shows them; those of another passage keep what is
   *   known of how they came about, and with whose model and settings: their origin.
   */
  setPrompt(views) {
    this.numPromptTokens = views.length;
    this.#ids = [...views.map(({ id }) => id), ...this.#ids];
    this.prompt = views.map((view, position) => ({
      view: view.view ?? view,
      position,
      record: view.record ?? null,
      isPrompt: true,
      isGiven: view.isGiven ?? true,
      isBranch: view.isBranch ?? false,
      passage: this,
      origin: view.origin ?? this,
    }));
  }

  /** Add a token that was made, with the inspection that tells how. */
  add(record) {
    const { token: view, position, ends_text: endsText } = record;
    const token = { view, position, record, endsText, isPrompt: false, passage: this, origin: this };
    this.tokens.push(token);
    this.#ids.push(view.id);
    return token;
  }

  /** Whether the ids of the prompt are known by now; without them nothing can be asked. */
  get isWhole() {
    return this.prompt !== undefined;
  }

  /** All ids, the prompt's first. */
  get ids() {
    return this.#ids;
  }

  /** The ids before a position. */
  idsBefore(position) {
    return this.#ids.slice(0, position);
  }

  /** All tokens, the prompt's first. */
  get all() {
    return [...(this.prompt ?? []), ...this.tokens];
  }

  /** The tokens before a position, the last few of them. */
  lastBefore(position, count) {
    return this.all.slice(Math.max(0, position - count), position);
  }

  /** The tokens with which another text begins that goes on with another token from a position. */
  branch(position, view) {
    const kept = this.all.slice(0, position).map((token) => ({
      id: token.view.id,
      view: token.view,
      record: token.record,
      origin: token.record === null ? undefined : token.origin,
      isGiven: token.isPrompt && token.isGiven,
      isBranch: token.isBranch,
    }));
    return [...kept, { id: view.id, view, isGiven: false, isBranch: true }];
  }
}
