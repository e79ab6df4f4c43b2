// The stages of the server's sampler, once more: the same integers, so that the page can show at
// once what other settings would have chosen. docs/sampling.md says what each stage does; tests
// hold every stage here against the server's own.

import { largestMask } from "./largest.js";

export const STAGES = ["model", "penalties", "bias", "temperature", "top_k", "top_p", "min_p"];

const GREEDY_BELOW_TEMPERATURE = 1e-5;
const LARGEST_WEIGHT = 2 ** 30;

/**
 * How one token is chosen from raw logits.
 * @param {Float32Array} logits One of each token of the vocabulary.
 * @param {object} parameters temperature, top_k, top_p, min_p; where they count also
 *   repetition_penalty, presence_penalty, frequency_penalty, logit_bias.
 * @param {{idsBefore: number[], numPromptIds: number, word: number}} place What the text holds
 *   so far, how much of it was the prompt, and the random number, from 0 to 2^32 - 1.
 * @returns {{stages: object[], weights: Float64Array, total: number, chosenId: number}}
 *   Of each stage its name, probabilities by id, tokens kept and entropy in bits. The weights are
 *   those of the last stage; in order of id, their running sum is the line that is drawn from.
 */
export function traceSampling(logits, parameters, { idsBefore, numPromptIds, word }) {
  const stages = [];
  const add = (name, probabilities) => stages.push(stage(name, probabilities));
  add("model", softmax(logits));
  const penalised = withPenalties(logits, parameters, idsBefore, numPromptIds);
  add("penalties", softmax(penalised));
  const biased = withBias(penalised, parameters.logit_bias ?? {});
  add("bias", softmax(biased));
  let weights = weightsOf(biased, parameters.temperature);
  add("temperature", shares(weights));
  if (parameters.top_k > 0 && parameters.top_k < logits.length) {
    weights = masked(weights, largestMask(biased, parameters.top_k));
  }
  add("top_k", shares(weights));
  weights = cutByTopP(weights, parameters.top_p);
  add("top_p", shares(weights));
  weights = cutByMinP(weights, parameters.min_p);
  add("min_p", shares(weights));
  const total = sum(weights);
  return { stages, weights, total, chosenId: drawn(weights, total, word) };
}

function withPenalties(logits, parameters, idsBefore, numPromptIds) {
  const changed = Float32Array.from(logits);
  const factor = Math.fround(parameters.repetition_penalty ?? 1);
  if (factor !== 1) {
    for (const id of new Set(idsBefore)) {
      changed[id] = changed[id] > 0 ? changed[id] / factor : changed[id] * factor;
    }
  }
  const presence = parameters.presence_penalty ?? 0;
  const frequency = parameters.frequency_penalty ?? 0;
  if (presence !== 0 || frequency !== 0) {
    const counts = new Map();
    for (const id of idsBefore.slice(numPromptIds)) counts.set(id, (counts.get(id) ?? 0) + 1);
    for (const [id, count] of counts) {
      // Rounded to f32 after each of the two, as the server's f32 is.
      const once = Math.fround(changed[id] - Math.fround(presence));
      changed[id] = once - Math.fround(frequency * count);
    }
  }
  return changed;
}

function withBias(logits, bias) {
  const changed = Float32Array.from(logits);
  for (const [id, amount] of Object.entries(bias)) changed[id] += Math.fround(amount);
  return changed;
}

function weightsOf(logits, temperature) {
  const largest = logits.reduce((most, each) => (each > most ? each : most), -Infinity);
  if (temperature < GREEDY_BELOW_TEMPERATURE) {
    const weights = new Float64Array(logits.length);
    weights[logits.indexOf(largest)] = LARGEST_WEIGHT;
    return weights;
  }
  const divisor = Math.fround(temperature);
  return Float64Array.from(logits, (logit) => {
    const scaled = Math.fround(Math.fround(logit - largest) / divisor);
    return roundHalfToEven(Math.exp(scaled) * LARGEST_WEIGHT);
  });
}

function cutByTopP(weights, topP) {
  if (!(topP < 1)) return weights;
  const limit = topP * sum(weights);
  const heaviest = Float64Array.from(weights).sort().reverse();
  let count = 0;
  for (let before = 0; count < heaviest.length && before < limit; count += 1) {
    before += heaviest[count];
  }
  return masked(weights, largestMask(weights, Math.max(1, count)));
}

function cutByMinP(weights, minP) {
  if (minP === 0) return weights;
  const limit = minP * weights.reduce((most, each) => Math.max(most, each), 0);
  return weights.map((weight) => (weight < limit ? 0 : weight));
}

function drawn(weights, total, word) {
  // The product has up to 96 bits.
  const threshold = Number((BigInt(total) * BigInt(word)) >> 32n);
  let running = 0;
  for (let id = 0; id < weights.length; id += 1) {
    running += weights[id];
    if (running > threshold) return id;
  }
  throw new Error("the weights of a row add up to nothing");
}

function masked(weights, isKept) {
  return weights.map((weight, id) => (isKept[id] ? weight : 0));
}

function softmax(logits) {
  const largest = logits.reduce((most, each) => (each > most ? each : most), -Infinity);
  return shares(Float64Array.from(logits, (logit) => Math.exp(logit - largest)));
}

function shares(weights) {
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

function stage(name, probabilities) {
  let kept = 0;
  let entropyBits = 0;
  for (const probability of probabilities) {
    if (probability === 0) continue;
    kept += 1;
    entropyBits -= probability * Math.log2(probability);
  }
  return { name, probabilities, kept, entropyBits: Math.max(0, entropyBits) };
}

function sum(numbers) {
  let total = 0;
  for (const each of numbers) total += each;
  return total;
}

function roundHalfToEven(number) {
  const floor = Math.floor(number);
  const rest = number - floor;
  if (rest === 0.5) return floor % 2 === 0 ? floor : floor + 1;
  return rest < 0.5 ? floor : floor + 1;
}
