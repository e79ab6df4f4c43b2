// Which token shows which characters of the text.
//
// Text and tokens come side by side, but not always in step: a character may need several tokens,
// and text that could begin a stop string is held back. Each token therefore wants the characters
// that its bytes complete, and the text that arrives goes to those who want it, in order.

/** The text of a stream, handed out to its tokens. */
export class Delivery {
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #waiting = [];

  /**
   * A token of the text has come.
   * @param {number[]} bytes What it stands for.
   * @param {(text: string) => void} write Called with the text that it gets, once or more often.
   */
  expect(bytes, write) {
    const wanted = this.#decoder.decode(Uint8Array.from(bytes), { stream: true });
    this.#waiting.push({ numMissing: Array.from(wanted).length, write });
  }

  /** Text of the stream has come. */
  deliver(text) {
    let characters = Array.from(text);
    while (characters.length > 0 && this.#waiting.length > 0) {
      const [first] = this.#waiting;
      const isLast = this.#waiting.length === 1;
      // The end of the text can hold a replacement for a character that was never finished.
      const numTaken = isLast ? characters.length : Math.min(first.numMissing, characters.length);
      first.write(characters.slice(0, numTaken).join(""));
      first.numMissing = Math.max(0, first.numMissing - numTaken);
      characters = characters.slice(numTaken);
      if (isLast) return;
      if (first.numMissing > 0) return;
      this.#waiting.shift();
    }
  }
}
