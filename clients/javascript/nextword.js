// A Nextword server over REST, for Node 20 and later and for browsers; needs no package.

/** An error of the table that docs/errors.md shows. */
export class NextwordError extends Error {
  /**
   * @param {{message: string, code: string, param?: string | null}} error what the server says
   * @param {number | null} status HTTP's status; null within a stream, which has begun with 200
   * @param {Headers | null} headers
   */
  constructor(error, status, headers) {
    super(error.message);
    this.name = "NextwordError";
    this.code = error.code;
    this.field = error.param ?? null;
    this.status = status;
    this.requestId = headers?.get("x-request-id") ?? null;
    const seconds = headers?.get("retry-after");
    this.retryAfterSeconds = seconds ? Number(seconds) : null;
  }
}

/**
 * The continuation of a text, piece by piece. Leaving the loop, or aborting the signal, cancels the
 * request: the server computes no further token of it.
 *
 * @param {string | number[]} prompt a text, or token ids
 * @param {{server?: string, key?: string, signal?: AbortSignal, deadlineSeconds?: number,
 *   parameters?: object}} options parameters are those of POST /v1/generate
 * @yields {{index: number, text: string, token_ids: number[], finish_reason: string | null}}
 */
export async function* streamText(prompt, options = {}) {
  const { server = "http://127.0.0.1:8000", key, deadlineSeconds = 600, parameters = {} } = options;
  const input = typeof prompt === "string" ? { prompt } : { prompt_ids: prompt };
  const controller = new AbortController();
  const leave = () => controller.abort(options.signal?.reason);
  if (options.signal?.aborted) leave();
  options.signal?.addEventListener("abort", leave, { once: true });
  // The deadline is the server's to tell; this one is for a server that says nothing.
  const patience = setTimeout(() => {
    controller.abort(new NextwordError({ message: "no end in time", code: "deadline_exceeded" }));
  }, 1000 * (deadlineSeconds + 2));
  try {
    const response = await fetch(`${server}/v1/generate`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) },
      body: JSON.stringify({
        ...parameters, ...input, stream: true, timeout_seconds: deadlineSeconds,
      }),
      signal: controller.signal,
    });
    if (!response.ok) throw await refusal(response);
    for await (const payload of payloads(response.body)) {
      if (payload === "[DONE]") return;
      const piece = JSON.parse(payload);
      if (piece.error) throw new NextwordError(piece.error, null, response.headers);
      yield piece;
    }
    throw new Error("the stream ended in the middle");
  } finally {
    clearTimeout(patience);
    options.signal?.removeEventListener("abort", leave);
    controller.abort();
  }
}

/** The payloads of an event stream's data lines; a line ends at a line feed and nowhere else. */
async function* payloads(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let unfinished = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (unfinished + decoder.decode(value, { stream: true })).split("\n");
    unfinished = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}

async function refusal(response) {
  try {
    return new NextwordError((await response.json()).error, response.status, response.headers);
  } catch {
    const error = { message: `HTTP status ${response.status}`, code: `http_${response.status}` };
    return new NextwordError(error, response.status, response.headers);
  }
}
