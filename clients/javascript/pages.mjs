// Serves browser.html, and passes on to a Nextword server what it asks for: so that the page and the
// server are one origin to the browser, and the key stays here.
//
//   node clients/javascript/pages.mjs --port 8080 --server http://127.0.0.1:8000
//
// The key, where the server asks for one, is NEXTWORD_API_KEY. --port 0 takes a free one.
import { readFile } from "node:fs/promises";
import http from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "8080" },
    server: { type: "string", default: "http://127.0.0.1:8000" },
  },
});
const kinds = { "browser.html": "text/html; charset=utf-8", "nextword.js": "text/javascript" };

const server = http.createServer(async (request, response) => {
  const name = new URL(request.url, "http://here").pathname.slice(1) || "browser.html";
  if (request.method === "GET" && Object.hasOwn(kinds, name)) {
    response.writeHead(200, { "content-type": kinds[name] });
    response.end(await readFile(new URL(name, import.meta.url)));
  } else if (request.method === "POST" && name === "v1/generate") {
    passOn(request, response);
  } else {
    response.writeHead(404).end();
  }
});

function passOn(request, response) {
  const key = process.env.NEXTWORD_API_KEY;
  const asked = http.request(`${values.server}/v1/generate`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) },
  });
  asked.on("response", (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  asked.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  // A reader who leaves cancels the request behind it.
  response.on("close", () => asked.destroy());
  request.pipe(asked);
}

server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
