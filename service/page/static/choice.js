// One choice of a token, ready to be shown: as it was recorded, or as other settings would make it.

import { randomWord } from "./random_number.js";
import { STAGES, traceSampling } from "./sampler.js";

/**
 * The choice that the server recorded.
 * @param {object} record An inspection of the API.
 */
export function recordedChoice(record) {
  const stages = record.stages.map((stage) => ({
    name: stage.stage,
    kept: stage.num_kept,
    entropyBits: stage.entropy_bits,
  }));
  const candidates = record.candidates.map((candidate) => ({
    view: candidate.token,
    before: candidate.probabilities[0],
    after: candidate.probabilities.at(-1),
    removedBy: candidate.removed_by,
    line: [candidate.line_start, candidate.line_end],
  }));
  return {
    stages: withChanges(stages),
    candidates,
    stretches: candidates
      .filter(({ after }) => after > 0)
      .map(({ view, line }) => ({ id: view.id, start: line[0], end: line[1] })),
    number: record.random_number,
    drawnId: record.drawn_token.id,
  };
}

/**
 * The choice under some settings.
 * @param {object} record The inspection that lists the candidates.
 * @param {{logits: Float32Array, idsBefore: number[], numPromptIds: number}} known What it needs.
 * @param {object} settings As the page has them now; a seed draws another number.
 */
export function computedChoice(record, { logits, idsBefore, numPromptIds }, settings) {
  const word = settings.seed === null
    ? record.random_word
    : randomWord(BigInt(settings.seed), 0, record.position);
  const trace = traceSampling(logits, settings, { idsBefore, numPromptIds, word });
  const lines = linesOf(trace);
  const candidates = record.candidates.map(({ token: view }) => {
    const probabilities = trace.stages.map((stage) => stage.probabilities[view.id]);
    const first = probabilities.findIndex((probability) => probability === 0);
    return {
      view,
      before: probabilities[0],
      after: probabilities.at(-1),
      removedBy: first < 0 ? null : STAGES[first],
      line: lines.get(view.id) ?? [0, 0],
    };
  });
  return {
    stages: withChanges(trace.stages),
    candidates,
    stretches: Array.from(lines, ([id, [start, end]]) => ({ id, start, end })),
    number: word / 2 ** 32,
    drawnId: trace.chosenId,
  };
}

/** Whether two choices are one and the same: what was computed here, and what was recorded. */
export function agree(one, other) {
  return (
    one.drawnId === other.drawnId &&
    one.number === other.number &&
    one.stages.every((stage, index) => stage.kept === other.stages[index].kept) &&
    one.candidates.every(
      (candidate, index) => Math.abs(candidate.after - other.candidates[index].after) < 1e-6,
    )
  );
}

function withChanges(stages) {
  return stages.map((stage, index) => {
    const before = stages[index - 1];
    const changes =
      before === undefined ||
      stage.kept !== before.kept ||
      Math.abs(stage.entropyBits - before.entropyBits) > 1e-4;
    return { ...stage, changes };
  });
}

function linesOf({ weights, total }) {
  const lines = new Map();
  let running = 0;
  weights.forEach((weight, id) => {
    if (weight === 0) return;
    lines.set(id, [running / total, (running + weight) / total]);
    running += weight;
  });
  return lines;
}
