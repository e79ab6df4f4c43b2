// The page's request as a command for a shell, or as a program.

import { jsonOf } from "./json.js";

// The server's default: the page cannot know another.
export const GRPC_PORT = 50051;
const OUTSIDE = new Set(["model", "prompt", "prompt_ids", "stream", "inspect"]);

/** The languages that a request can be copied in, and how. */
export const COMMANDS = { curl: curlCommand, Python: pythonProgram, grpcurl: grpcurlCommand };

/**
 * A curl command that makes the request.
 * @param {{origin: string, host: string, fields: [string, string][], hasKey: boolean}} request
 *   Where to, and the fields of its body with their values as JSON.
 */
export function curlCommand({ origin, fields, hasKey }) {
  return lines([
    `curl -N ${quoted(`${origin}/v1/generate`)}`,
    // By name: a key that is pasted stays in the shell's history.
    ...(hasKey ? ['-H "Authorization: Bearer $NEXTWORD_API_KEY"'] : []),
    `-H ${quoted("Content-Type: application/json")}`,
    `-d ${quoted(jsonOf({}, fields))}`,
  ]);
}

/** A grpcurl command that makes the request; reflection tells it the messages. */
export function grpcurlCommand({ origin, host, fields, hasKey }) {
  // With TLS it is a proxy that answers, for both protocols at one port as deploy/nginx has it.
  const { protocol, port } = new URL(origin);
  const isTls = protocol === "https:";
  const outside = fields.filter(([name]) => OUTSIDE.has(name) && name !== "stream");
  const chosen = fields.filter(([name]) => !OUTSIDE.has(name));
  const message = outside.map(([name, value]) =>
    name === "prompt_ids" ? [name, `{"ids": ${value}}`] : [name, value]);
  if (chosen.length > 0) message.push(["parameters", jsonOf({}, chosen)]);
  return lines([
    isTls ? "grpcurl" : "grpcurl -plaintext",
    ...(hasKey ? ['-H "authorization: Bearer $NEXTWORD_API_KEY"'] : []),
    `-d ${quoted(jsonOf({}, message))}`,
    `${host}:${isTls ? port || 443 : GRPC_PORT} nextword.v1.TextGenerationService/StreamGenerateText`,
  ]);
}

/** A program for the Python client. */
export function pythonProgram({ origin, fields, hasKey }) {
  const values = new Map(fields);
  const chosen = fields.filter(([name]) => !OUTSIDE.has(name));
  // What JSON writes, Python reads: there are numbers, texts and lists of numbers here only.
  const parameters = chosen.map(([name, value]) => `${name}=${value}`).join(", ");
  const prompt = values.has("prompt") ? values.get("prompt") : values.get("prompt_ids");
  const parts = [
    prompt,
    ...(values.has("model") ? [`model=${values.get("model")}`] : []),
    ...(parameters ? [`parameters=SamplingParameters(${parameters})`] : []),
  ];
  return [
    ...(hasKey ? ["import os", ""] : []),
    `from nextword import Client${parameters ? ", SamplingParameters" : ""}`,
    "",
    `with Client(${JSON.stringify(origin)}${hasKey ? ', api_key=os.environ["NEXTWORD_API_KEY"]' : ""}) as client:`,
    "    with client.stream(",
    ...parts.map((part) => `        ${part},`),
    "    ) as stream:",
    "        for piece in stream:",
    '            print(piece.text, end="", flush=True)',
    "",
  ].join("\n");
}

function lines(parts) {
  return parts.join(" \\\n  ");
}

// Within single quotes a shell changes nothing; a quote itself has to step outside of them.
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
