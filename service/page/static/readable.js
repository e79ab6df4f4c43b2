// How tokens are shown: what cannot be seen or would disturb what stands around it becomes a mark.
// Everything is put into the page as text, never as markup.

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// Controls, what changes the direction, joins or look of its neighbours without being seen, and
// letters and tags that are drawn as nothing.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;

/** A number of things, with its thousands apart. */
export function countOf(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

/** Bytes in hex, as "e2 80". */
export function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** The text of whole characters, or null where the bytes are no whole characters. */
export function wholeText(bytes) {
  try {
    return strictDecoder.decode(Uint8Array.from(bytes));
  } catch {
    return null;
  }
}

/**
 * Put a token's text into an element of the running text: it reads as text, with marks for what
 * cannot be seen. A mark is drawn by the style sheet and is no part of what gets copied.
 */
export function fillRunning(element, text) {
  fill(element, text, (character) => {
    if (character === "\n") return ["\u23ce", "\n"];
    if (character === "\t") return ["\u21e5", "\t"];
    return UNSEEN.test(character) ? [codePoint(character), ""] : null;
  });
}

/** The space before a word, and the word: only the word is to be underlined. */
export function partSpace(text) {
  const word = text.replace(/^ +/, "");
  return word === "" ? ["", text] : [text.slice(0, text.length - word.length), word];
}

/** Put a token on its own into an element: spaces are marks, too. */
export function fillAlone(element, token) {
  const text = wholeText(token.bytes);
  if (token.bytes.length === 0) {
    addMark(element, token.text || `#${token.id}`);
    return;
  }
  if (text === null) {
    addMark(element, hexOf(token.bytes));
    return;
  }
  fill(element, text, (character) => {
    if (character === " ") return ["\u2423", ""];
    if (character === "\n") return ["\u23ce", ""];
    if (character === "\t") return ["\u21e5", ""];
    return UNSEEN.test(character) ? [codePoint(character), ""] : null;
  });
}

/** A token in words, for those who hear the page. */
export function spokenName(token) {
  const text = wholeText(token.bytes);
  if (token.bytes.length === 0) return `special token ${token.text || token.id}`;
  if (text === null) return `bytes ${hexOf(token.bytes)}`;
  const trimmed = text.trim();
  if (trimmed === "") return /\n/.test(text) ? "line break" : "space";
  const words = Array.from(trimmed, (c) => (UNSEEN.test(c) ? codePoint(c) : c)).join("");
  return text.startsWith(" ") ? `${words}, after a space` : words;
}

/** A probability in as many digits as mean something. */
export function percent(probability) {
  const value = probability * 100;
  if (value === 0) return "0 %";
  if (value >= 99.95) return "100 %";
  if (value >= 9.95) return `${value.toFixed(1)} %`;
  if (value >= 0.0995) return `${value.toFixed(2)} %`;
  if (value >= 0.001) return `${value.toFixed(3)} %`;
  return "< 0.001 %";
}

/** Add a mark, which is seen but no text. */
export function addMark(element, shown) {
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.dataset.mark = shown;
  element.append(mark);
}

function fill(element, text, markOf) {
  let plain = "";
  for (const character of text) {
    const marked = markOf(character);
    if (marked === null) {
      plain += character;
      continue;
    }
    if (plain) element.append(plain);
    addMark(element, marked[0]);
    plain = marked[1];
  }
  if (plain) element.append(plain);
}

function codePoint(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A token as a short text in which everything can be seen, for a drawing. */
export function visibleText(token) {
  const text = wholeText(token.bytes);
  if (token.bytes.length === 0) return token.text || `#${token.id}`;
  if (text === null) return hexOf(token.bytes);
  return Array.from(text, (character) => {
    if (character === " ") return "\u2423";
    if (character === "\n") return "\u23ce";
    if (character === "\t") return "\u21e5";
    return UNSEEN.test(character) ? codePoint(character) : character;
  }).join("");
}
