// The server's public API, as any other program would call it.

import { keyHeaders } from "./key.js";

/** What the API said is wrong: its message, the field at fault, its code, the request's id. */
export class ApiError extends Error {
  constructor({ message, param = null, code = null }, { status = 0, requestId = "", retryAfter = "" } = {}) {
    super(message);
    this.name = "ApiError";
    this.field = param;
    this.code = code;
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }

  /** Whether the server wants a key, or another one. */
  get isAboutKey() {
    return this.status === 401;
  }
}

/** The served models, the default one first. */
export async function listModels(signal) {
  const response = await reach("/v1/models", { signal, headers: { accept: "application/json" } });
  return (await response.json()).data;
}

/**
 * The answer to one message.
 * @param {string} path As "/v1/inspect".
 * @param {string} body JSON.
 */
export async function ask(path, body, signal) {
  const response = await reach(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
  });
  return response.json();
}

/**
 * The events of a streamed generation, one object each.
 * @param {string} body JSON with stream true.
 * @param {AbortSignal} signal Ends the request; the server then stops computing.
 */
export async function* generate(body, signal) {
  const response = await reach("/v1/generate", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
  });
  const requestId = response.headers.get("x-request-id") ?? "";
  for await (const data of serverSentData(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(event.error, { requestId });
    yield event;
  }
  throw new ApiError({ message: "the connection ended before the text did" }, { requestId });
}

async function reach(path, options) {
  let response;
  try {
    const headers = { ...options.headers, ...keyHeaders() };
    response = await fetch(path, { cache: "no-store", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "the server cannot be reached" });
  }
  if (response.ok) return response;
  const about = {
    status: response.status,
    requestId: response.headers.get("x-request-id") ?? "",
    retryAfter: response.headers.get("retry-after") ?? "",
  };
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Something between the server and us answered; its status is all there is to show.
  }
  throw new ApiError(body.error ?? { message: `the server answered ${response.status}` }, about);
}

async function* serverSentData(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await readOrFail(reader);
      if (done) return;
      held += value;
      const lines = held.split("\n");
      held = lines.pop();
      for (const line of lines) {
        // Anything else is a comment that keeps the connection open, or the blank line after data.
        if (line.startsWith("data: ")) yield line.slice("data: ".length).trimEnd();
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function readOrFail(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "the connection was cut before the text ended" });
  }
}
