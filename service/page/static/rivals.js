// The panel beside the text: the likeliest tokens at one position as bars, the chosen one marked.

import { fillAlone, fillRunning, percent, spokenName } from "./readable.js";

export const NUM_RIVALS = 10;
const CONTEXT_CHARACTERS = 28;

/** Show one token of the continuation and what else could have stood there. */
export function showRivals(panel, token) {
  const { report } = token;
  const body = document.createDocumentFragment();
  body.append(heading(token), list(report), facts(token));
  panel.replaceChildren(body);
}

function heading({ before, report }) {
  const line = make("p", "choice");
  const context = make("span", "choice-before");
  fillRunning(context, lastWords(before));
  const chosen = make("strong", "choice-token");
  fillAlone(chosen, report);
  const bidi = make("bdi");
  bidi.append(context, " ", chosen);
  line.append(bidi);
  return line;
}

/** The end of a text, from the beginning of a word where there is one. */
function lastWords(text) {
  const characters = Array.from(text);
  if (characters.length <= CONTEXT_CHARACTERS) return text;
  const end = characters.slice(-CONTEXT_CHARACTERS).join("");
  return "\u2026" + end.replace(/^\S{0,12} /u, " ");
}

function list(report) {
  const rows = report.top.slice(0, NUM_RIVALS).map((rival) => ({ ...rival }));
  const isAmong = rows.some((row) => row.id === report.id);
  const shown = isAmong ? rows : [...rows, report];
  const largest = Math.exp(Math.max(...shown.map((row) => row.logprob)));
  const element = make("ol", "bars");
  for (const row of shown) {
    const isChosen = row.id === report.id;
    const rank = isChosen && !isAmong ? report.rank : null;
    element.append(bar(row, largest, isChosen, rank));
  }
  const rest = 1 - shown.reduce((sum, row) => sum + Math.exp(row.logprob), 0);
  if (rest > 0.00001) element.append(remainder(rest));
  return element;
}

function bar(row, largest, isChosen, rank) {
  const item = make("li", isChosen ? "bar is-chosen" : "bar");
  const spoken = make("span", "visually-hidden");
  spoken.textContent =
    `${spokenName(row)}: ${percent(row.logprob)}` +
    (isChosen ? ", chosen" : "") + (rank === null ? "" : `, rank ${rank}`);
  const name = make("bdi", "bar-name");
  name.setAttribute("aria-hidden", "true");
  fillAlone(name, row);
  if (rank !== null) name.append(make("span", "bar-rank", `no. ${rank.toLocaleString("en")}`));
  item.append(spoken, name, track(Math.exp(row.logprob) / largest), value(percent(row.logprob)));
  return item;
}

// Without a bar: one for thousands of tokens together would say little beside those of one each.
function remainder(share) {
  const item = make("li", "bar is-rest");
  const amount = percent(Math.log(share));
  item.append(make("span", "bar-name", "all other tokens"), value(amount, false));
  return item;
}

function track(share) {
  const element = make("span", "bar-track");
  element.setAttribute("aria-hidden", "true");
  const fill = make("span", "bar-fill");
  fill.style.setProperty("--share", String(Math.min(1, share)));
  element.append(fill);
  return element;
}

function value(text, isHidden = true) {
  const element = make("span", "bar-value", text);
  if (isHidden) element.setAttribute("aria-hidden", "true");
  return element;
}

function facts({ report, position }) {
  const bits = (-report.logprob / Math.LN2).toFixed(1);
  const rank = report.rank === 1 ? "the likeliest" : `no. ${report.rank.toLocaleString("en")}`;
  const line = make("p", "hint");
  line.textContent =
    `Token ${position + 1}, id ${report.id}: ${rank} by the model\u2019s own probabilities, ` +
    `before temperature and cuts; ${bits} bits of surprise.`;
  return line;
}

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
