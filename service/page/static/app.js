// The page: a prompt goes out, tokens come in, and each shows how it was chosen. Everything the
// page knows, it asks the public API.

import { AttentionArcs } from "./attention_arcs.js";
import { AttentionPanel } from "./attention_panel.js";
import { Branches } from "./branches.js";
import { ChoicePanel, NUM_CANDIDATES } from "./choice_panel.js";
import { CopyDialog } from "./copy_dialog.js";
import { Figures } from "./figures.js";
import { Inspector } from "./inspector.js";
import { jsonOf } from "./json.js";
import { KeyField, isKeyHeld } from "./key.js";
import { ModelPicker } from "./models.js";
import { NeighboursPanel } from "./neighbours_panel.js";
import { NgramPanel } from "./ngram_panel.js";
import { Passage } from "./passage.js";
import { Pipeline } from "./pipeline.js";
import { Problem } from "./problem.js";
import { Run } from "./run.js";
import { Settings } from "./settings.js";
import { SideBySide } from "./side_by_side.js";
import { Spoken } from "./spoken.js";
import { Strip } from "./strip.js";
import { takeRequestFields } from "./write.js";

const byId = (id) => document.getElementById(id);
const settings = new Settings(() => choice.refresh());
const pipeline = new Pipeline(byId("stages"), settings);
takeRequestFields(byId("request-fields"), settings);
const choice = new ChoicePanel(byId("choice-body"), {
  pipeline, settings, onBranch: startBranch, onError: showError,
});
const arcs = new AttentionArcs(byId("sheet"));
const neighbours = new NeighboursPanel(byId("neighbours"), showError);
const inspector = new Inspector(byId("inspector"), {
  choice,
  attention: new AttentionPanel(byId("attention"), {
    onWeights: (token, weights) => arcs.show(strip, token, weights),
    onError: showError,
  }),
  neighbours,
  ngram: new NgramPanel(byId("ngram"), showError),
});
const figures = new Figures(byId("figures"), (seed) => settings.set("seed", seed));
const spoken = new Spoken(byId("spoken"));
const problem = new Problem(byId("error"));
const comparison = new SideBySide(byId("side-by-side"), byId("comparison"), {
  onSelect: (position) => strip.selectAt(position),
  onError: showError,
});
const branches = new Branches(byId("branches"), showPassage);
const picker = new ModelPicker(byId("model"), byId("model-facts"), {
  onChange(model) {
    settings.useModel(model);
    neighbours.useModel(model.id);
  },
  onError: (error) => (error === null ? clearError() : showError(error)),
});
const keyField = new KeyField(byId("key-form"), () => {
  clearError();
  showLinks(!isKeyHeld());
  picker.refresh();
});
const copyDialog = new CopyDialog(byId("copy-dialog"), () => ({
  origin: location.origin,
  host: location.hostname,
  fields: requestFields([["prompt", JSON.stringify(byId("prompt").value)]]),
  hasKey: isKeyHeld(),
}));

let strip = null;
let shown = null;
let running = null;
let latest = null;

/** Continue the prompt. */
async function startRun() {
  // Whoever is quicker than the list of models waits for it: a text belongs to one of them.
  if (picker.chosen === "") await picker.refresh();
  if (picker.chosen === "") return;
  const prompt = byId("prompt").value;
  const passage = newPassage();
  branches.begin(passage);
  showText(passage);
  strip.showPrompt(prompt);
  run(passage, [["prompt", JSON.stringify(prompt)]], prompt);
}

/** Go on from the middle of a text with another token than its own. */
function startBranch(token, view) {
  const passage = newPassage(token.passage);
  passage.setPrompt(token.passage.branch(token.position, view));
  branches.add(passage, { position: token.position, view });
  showText(passage);
  run(passage, [["prompt_ids", JSON.stringify(passage.ids)]], null);
}

function run(passage, input, prompt) {
  latest?.leave();
  if (running !== null) figures.cancel();
  clearError();
  inspector.close();
  byId("intro").hidden = true;
  byId("result").hidden = false;
  byId("result").classList.add("is-running");
  byId("cancel").disabled = false;
  figures.begin(passage);
  spoken.say("Waiting for the first token.");
  const body = jsonOf({ inspect: { candidates: NUM_CANDIDATES } },
    requestFields(input, passage.model));
  const typedSeed = settings.typed("seed");
  latest = running = new Run(passage, { body, prompt }, {
    onTokens(tokens, text) {
      passage.text += text;
      strip.add(tokens, text);
      spoken.add(text);
      figures.count(strip.length);
    },
    onPrompt() {
      if (shown !== passage) return;
      strip.showLead(passage.prompt);
      if (running?.passage !== passage) comparison.show(passage);
      if (inspector.token !== null) inspector.show(inspector.token);
    },
    onPromptError: showError,
    onEnd(event) {
      // JSON's numbers would lose digits beyond 2^53; the server's own seeds stay below.
      passage.seed = typedSeed ?? String(event.parameters.seed);
      // By now the name alone may mean another version: what is asked later is asked of this one.
      passage.model = `${event.model}@${event.model_version}`;
      figures.finish(event, passage.seed);
      comparison.show(passage);
      spoken.end(figures.outcome);
    },
    onCancel() {
      figures.cancel();
      comparison.show(passage);
      spoken.end("Cancelled.");
    },
    onError(error) {
      figures.fail();
      comparison.show(passage);
      showError(error);
    },
    onDone: endRun,
  });
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

/** A text with the settings as they are now; what is left alone is as its model has it. */
function newPassage({ model, defaults } = { model: picker.chosen, defaults: settings.defaults }) {
  const passage = new Passage({ model, defaults, settings: settings.snapshot(defaults) });
  passage.seed = settings.typed("seed");
  return passage;
}

function showText(passage) {
  shown = passage;
  inspector.clear();
  comparison.show(null);
  strip = new Strip({ lead: byId("lead"), tokens: byId("tokens") }, (token) => inspector.show(token));
  if (passage.isWhole) strip.showLead(passage.prompt);
}

/** Go back to a text of before. */
function showPassage(passage) {
  if (running?.passage === passage) return;
  running?.leave();
  if (running !== null) {
    figures.cancel();
    endRun();
  }
  branches.mark(passage);
  showText(passage);
  strip.add(passage.tokens, passage.text);
  figures.showAgain(passage);
  comparison.show(passage);
}

/** What is sent beside the inspection, as names and JSON. */
function requestFields(input, model = picker.chosen) {
  return [
    ...(model === "" ? [] : [["model", JSON.stringify(model)]]),
    ...input,
    ...settings.entries(),
    ["stream", "true"],
  ];
}

function showError(error) {
  problem.show(error, { isFirstAsked: error.isAboutKey && !isKeyHeld() });
  if (error.isAboutKey) {
    showLinks(false);
    keyField.ask();
  }
  if (settings.markError(error.field)) inspector.open();
  byId("prompt").setAttribute("aria-invalid", String(error.field === "prompt"));
}

function clearError() {
  problem.clear();
  settings.markError(null);
  byId("prompt").setAttribute("aria-invalid", "false");
}

// Where a key is asked for, so it is by what the links lead to, and a link cannot show it.
function showLinks(areShown) {
  byId("links").hidden = !areShown;
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  startRun();
});
byId("prompt").addEventListener("keydown", (event) => {
  // Where keys are glass, Enter makes a new line, as people there expect.
  const isPlain = event.key === "Enter" && !event.shiftKey && !event.altKey && !event.isComposing;
  if (!isPlain || (matchMedia("(pointer: coarse)").matches && !event.ctrlKey)) return;
  event.preventDefault();
  startRun();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  // An open dialog closes by itself, and nothing else does with the same key.
  if (document.querySelector("dialog[open]") !== null) return;
  if (inspector.isOpen) inspector.close();
  else running?.cancel();
});
byId("cancel").addEventListener("click", () => running?.cancel());
byId("copy").addEventListener("click", () => copyDialog.open());
byId("show-settings").addEventListener("click", () => inspector.open());
byId("inspector-close").addEventListener("click", () => inspector.close());
byId("sheet").addEventListener("click", (event) => {
  const token = event.target.closest(".token");
  if (token === null) return;
  inspector.open();
  // On a phone the panel now covers the lower part of the text.
  token.scrollIntoView({ block: "nearest" });
});
showLinks(!isKeyHeld());
picker.refresh();
