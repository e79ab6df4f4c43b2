// The page's request as a command for a shell.

/** A curl command that makes the same request. */
export function curlCommand(origin, body, { hasKey = false } = {}) {
  const parts = [
    `curl -N ${quoted(`${origin}/v1/generate`)}`,
    // By name: a key that is pasted stays in the shell's history.
    ...(hasKey ? ['-H "Authorization: Bearer $NEXTWORD_API_KEY"'] : []),
    `-H ${quoted("Content-Type: application/json")}`,
    `-d ${quoted(body)}`,
  ];
  return parts.join(" \\\n  ");
}

// Within single quotes a shell changes nothing; a quote itself has to step outside of them.
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
