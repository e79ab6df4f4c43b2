// Prints the next words of a text as the server makes them, in Node 20 or later.
//
//   node clients/javascript/stream_words.mjs "Once upon a time" --max-tokens 60 --seed 7
//
// Options: --server URL, --max-tokens N, --temperature X, --seed N, --deadline SECONDS,
// --cancel-after PIECES. The key, where the server asks for one, is NEXTWORD_API_KEY. Ctrl-C cancels
// the request.
import { parseArgs } from "node:util";

import { NextwordError, streamText } from "./nextword.js";

const string = { type: "string" };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { ...string, default: process.env.NEXTWORD_URL ?? "http://127.0.0.1:8000" },
    "max-tokens": string,
    temperature: string,
    seed: string,
    deadline: { ...string, default: "600" },
    "cancel-after": { ...string, default: "0" },
  },
});
const parameters = {};
if (values["max-tokens"]) parameters.max_tokens = Number(values["max-tokens"]);
if (values.temperature) parameters.temperature = Number(values.temperature);
// Seeds above 2^53 do not fit into a number; JSON takes them as they are written elsewhere.
if (values.seed) parameters.seed = Number(values.seed);

const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());
const pieces = streamText(positionals[0] ?? "Once upon a time", {
  server: values.server,
  key: process.env.NEXTWORD_API_KEY,
  signal: interrupted.signal,
  deadlineSeconds: Number(values.deadline),
  parameters,
});
try {
  let count = 0;
  for await (const piece of pieces) {
    process.stdout.write(piece.text);
    if (piece.usage) {
      console.log();
      console.error(`[${piece.usage.completion_tokens} tokens, seed ${piece.parameters.seed}]`);
    }
    count += 1;
    // Leaving the loop is all that it takes.
    if (count === Number(values["cancel-after"])) {
      console.log();
      console.error("[cancelled]");
      break;
    }
  }
} catch (error) {
  console.log();
  if (interrupted.signal.aborted) {
    console.error("[cancelled]");
    process.exitCode = 130;
  } else {
    const code = error instanceof NextwordError ? error.code : error.cause?.code;
    console.error(code ? `${code}: ${error.message}` : `${error}`);
    process.exitCode = 1;
  }
}
