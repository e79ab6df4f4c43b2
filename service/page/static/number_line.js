// The line of probabilities from 0 to 1, a stretch for each token in the order of their ids, and
// the random number as a point on it: where it lies, that token is drawn.

import { draw } from "./element.js";
import { visibleText } from "./readable.js";

const WIDTH = 440;
const LEFT = 1;
const TOP = 26;
const HEIGHT = 30;
const MIN_SHARE = 0.0008;
const LETTER = 6.8;

/**
 * The drawing.
 * @param {object} choice Whose line it is.
 * @param {(id: number) => object | undefined} viewOf What is known of a token by its id.
 * @param {number} chosenId The token in the text.
 */
export function numberLine(choice, viewOf, chosenId) {
  const svg = draw("svg", { class: "line", viewBox: `0 0 ${WIDTH + 2 * LEFT} 74`, role: "img" });
  svg.append(draw("title", {}, describe(choice, viewOf)));
  const base = { x: LEFT, y: TOP, width: WIDTH, height: HEIGHT, rx: 3 };
  svg.append(draw("rect", { ...base, class: "line-base" }));
  choice.stretches.forEach(({ id, start, end }, index) => {
    // What is thinner than a hair stays part of the ground.
    if (end - start < MIN_SHARE && id !== choice.drawnId) return;
    const kinds = ["stretch", index % 2 === 0 ? "is-even" : "is-odd"];
    if (id === choice.drawnId) kinds.push("is-drawn");
    if (id === chosenId) kinds.push("is-chosen");
    const box = { x: LEFT + start * WIDTH, width: Math.max(1, (end - start) * WIDTH - 0.75) };
    svg.append(draw("rect", { ...box, y: TOP, height: HEIGHT, class: kinds.join(" ") }));
    const view = viewOf(id);
    const text = view === undefined ? "" : visibleText(view).trim();
    if (text === "" || text.length * LETTER > box.width - 6) return;
    const place = { x: box.x + box.width / 2, y: TOP + HEIGHT / 2 + 5, "text-anchor": "middle" };
    const label = draw("text", { ...place, class: `${kinds.join(" ")} stretch-name` }, text);
    svg.append(label);
  });
  svg.append(...point(choice.number), ...ends());
  return svg;
}

function point(number) {
  const x = LEFT + number * WIDTH;
  const anchor = number < 0.12 ? "start" : number > 0.88 ? "end" : "middle";
  return [
    draw("line", { class: "point-stem", x1: x, x2: x, y1: 15, y2: TOP + HEIGHT + 4 }),
    draw("circle", { class: "point", cx: x, cy: TOP + HEIGHT + 4, r: 4.5 }),
    draw("text", { class: "point-value", x, y: 11, "text-anchor": anchor }, number.toFixed(6)),
  ];
}

function ends() {
  const y = TOP + HEIGHT + 16;
  return [
    draw("text", { class: "line-end", x: LEFT, y, "text-anchor": "start" }, "0"),
    draw("text", { class: "line-end", x: LEFT + WIDTH, y, "text-anchor": "end" }, "1"),
  ];
}

function describe(choice, viewOf) {
  const stretch = choice.stretches.find(({ id }) => id === choice.drawnId);
  const view = viewOf(choice.drawnId);
  const name = view === undefined ? `token ${choice.drawnId}` : visibleText(view);
  const range = stretch ? `${stretch.start.toFixed(4)} to ${stretch.end.toFixed(4)}` : "";
  return `The number ${choice.number.toFixed(6)} lies on ${name}, from ${range}`;
}
