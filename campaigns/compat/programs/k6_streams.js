// k6: REST checked whole and as events, gRPC by reflection as a stream, from several users at once.

import { check } from "k6";
import http from "k6/http";
import { Counter } from "k6/metrics";
import { Client, Stream } from "k6/net/grpc";

const { COMPAT_REST, COMPAT_GRPC, COMPAT_KEY, COMPAT_MODEL } = __ENV;
const authorization = `Bearer ${COMPAT_KEY}`;
const headers = { "Content-Type": "application/json", Authorization: authorization };
const asked = { model: COMPAT_MODEL, prompt: "Once upon a time", max_tokens: 24, seed: 7 };
const client = new Client();
const held = new Counter("held");

export const options = {
  vus: 2,
  iterations: 6,
  // A rate of no checks at all would be 1 too.
  thresholds: { checks: ["rate==1"], held: ["count==36"] },
};

function eventsOf(body) {
  return body.split("\n\n").filter((event) => event.startsWith("data: {"));
}

function expect(value, checks) {
  if (check(value, checks)) held.add(Object.keys(checks).length);
}

export default function () {
  const url = `${COMPAT_REST}/v1/completions`;
  const whole = http.post(url, JSON.stringify(asked), { headers });
  const streamed = http.post(url, JSON.stringify({ ...asked, stream: true }), { headers });
  const events = eventsOf(streamed.body).map((event) => JSON.parse(event.slice(6)));
  const text = events.map((event) => event.choices[0].text).join("");
  expect(whole, {
    "status 200": (answer) => answer.status === 200,
    "24 tokens": (answer) => answer.json("usage.completion_tokens") === 24,
    "the same text, streamed": (answer) => answer.json("choices.0.text") === text,
    "an end": () => streamed.body.endsWith("data: [DONE]\n\n"),
  });
  client.connect(COMPAT_GRPC, { plaintext: true, reflect: true, reflectMetadata: { authorization } });
  const method = "nextword.v1.TextGenerationService/StreamGenerateText";
  const stream = new Stream(client, method, { metadata: { authorization } });
  const messages = [];
  stream.on("data", (message) => messages.push(message));
  stream.on("error", (error) => check(error, { "no error of gRPC": () => false }));
  stream.on("end", () => {
    const last = messages[messages.length - 1];
    expect(last, {
      "gRPC: 480 tokens": () => last.summary.usage.completionTokens === 480,
      "gRPC: messages": () => messages.length > 1,
    });
    client.close();
  });
  // Of fewer tokens, all may wait for a busy server together and be one message.
  stream.write({
    prompt: asked.prompt,
    model: COMPAT_MODEL,
    parameters: { max_tokens: 480, seed: 7, ignore_eos: true },
  });
  stream.end();
}
