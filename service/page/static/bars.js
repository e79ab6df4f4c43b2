// The candidates for one place as bars: above what the model thought, below what the sampler left
// of it. Who was cut says by which stage.

import { make, makeButton, makeTrack } from "./element.js";
import { fillAlone, percent, spokenName } from "./readable.js";

const REASONS = {
  temperature: ["temperature", "made too unlikely by the temperature"],
  top_k: ["top-k", "cut by top-k"],
  top_p: ["top-p", "cut by top-p"],
  min_p: ["min-p", "cut by min-p"],
  bias: ["bias", "forbidden here"],
  penalties: ["penalty", "cut by a penalty"],
  model: ["model", "impossible to the model"],
};

/**
 * A list of candidates.
 * @param {object} choice What to show.
 * @param {object} about chosenId and rank: what stands in the text; onBranch: called with a token
 *   that the text is to go on with instead, absent where it cannot.
 */
export function candidateList(choice, { chosenId, rank, onBranch }) {
  const list = make("ol", "bars");
  const largest = Math.max(
    ...choice.candidates.map(({ before, after }) => Math.max(before, after)), 1e-12,
  );
  choice.candidates.forEach((candidate, index) => {
    const isChosen = candidate.view.id === chosenId;
    const isOutside = isChosen && rank > index + 1;
    list.append(bar(candidate, { largest, isChosen, rank: isOutside ? rank : null, choice, onBranch }));
  });
  if (choice.othersBefore > 1e-5 || choice.othersAfter > 1e-5) list.append(remainder(choice));
  return list;
}

/** What stands in which column. */
export function barHead() {
  const head = make("div", "bar bar-head");
  head.setAttribute("aria-hidden", "true");
  head.append(make("span", "", "Candidate"), make("span"));
  for (const [kind, text] of [["is-before", "model"], ["is-after", "sampler"]]) {
    const column = make("span");
    column.append(make("span", `swatch ${kind}`), text);
    head.append(column);
  }
  return head;
}

function bar(candidate, { largest, isChosen, rank, choice, onBranch }) {
  const { view, before, after, removedBy } = candidate;
  const isDrawn = view.id === choice.drawnId;
  const item = make("li", "bar");
  item.classList.toggle("is-chosen", isChosen);
  item.classList.toggle("is-drawn", isDrawn);
  item.classList.toggle("is-cut", Boolean(removedBy));
  const [tag, reason] = REASONS[removedBy] ?? [];
  const spoken = make("span", "visually-hidden");
  spoken.textContent = [
    `${spokenName(view)}: ${percent(before)} by the model`,
    removedBy ? reason : `${percent(after)} after the sampler`,
    ...(isChosen ? ["in the text"] : []),
    ...(isDrawn ? ["drawn"] : []),
    ...(rank === null ? [] : [`rank ${rank}`]),
  ].join(", ");
  const name = make("bdi", "bar-name");
  name.setAttribute("aria-hidden", "true");
  fillAlone(name, view);
  if (rank !== null) name.append(make("span", "bar-rank", `no. ${rank.toLocaleString("en")}`));
  const tracks = make("span", "bar-tracks");
  tracks.setAttribute("aria-hidden", "true");
  tracks.append(makeTrack(before / largest, "is-before"), makeTrack(after / largest, "is-after"));
  item.append(spoken, name, tracks, value(percent(before), "bar-value"));
  if (removedBy) {
    const cut = value(tag, "bar-cut");
    cut.dataset.stage = removedBy;
    cut.title = reason;
    item.append(cut);
  } else {
    item.append(value(percent(after), "bar-value bar-after"));
  }
  if (onBranch && !isChosen) {
    const branch = makeButton("bar-branch quiet", "\u21b3", () => onBranch(view));
    branch.title = "Continue from here with this one";
    branch.setAttribute("aria-label", `Continue from here with ${spokenName(view)}`);
    item.append(branch);
  } else if (isChosen) {
    const mark = value("\u25c2", "bar-mark");
    mark.title = "Stands in the text";
    item.append(mark);
  }
  return item;
}

// Without a bar: one for thousands of tokens together would say little beside those of one each.
function remainder({ othersBefore, othersAfter }) {
  const item = make("li", "bar is-rest");
  item.append(
    make("span", "bar-name", "all other tokens"),
    value(percent(othersBefore), "bar-value", false),
    value(percent(othersAfter), "bar-value bar-after", false),
  );
  return item;
}

function value(text, className, isHidden = true) {
  const element = make("span", className, text);
  if (isHidden) element.setAttribute("aria-hidden", "true");
  return element;
}
