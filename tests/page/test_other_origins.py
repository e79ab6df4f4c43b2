"""--cors-origin in a browser: another origin's page streams, with a key and own headers."""

from pathlib import Path

from tests.contract.live_server import Server, StartServer
from tests.page.browser import Browser

KEY = "a-key-0123456789_abcdef"
# Of a page on another port, which is another origin; what it could read, or the browser's refusal.
ASK = """
const [address, key, done] = arguments;
fetch(`${address}/v1/completions`, {
  method: "POST",
  headers: {
    "authorization": `Bearer ${key}`, "content-type": "application/json",
    "x-request-id": "from-a-page", "x-stainless-lang": "js",
  },
  body: JSON.stringify({prompt: "Once", max_tokens: 3, stream: true}),
}).then(async (answer) => done({
  status: answer.status, id: answer.headers.get("x-request-id"), text: await answer.text(),
})).catch((error) => done({refused: String(error)}));
"""


def ask(browser: Browser, page: Server, asked: Server, key: str) -> dict[str, object]:
    browser.chromium.get(f"{page.rest}/livez")
    return browser.chromium.execute_async_script(ASK, asked.rest, key)


def test_a_page_of_a_named_origin_streams(
    browser: Browser, server: Server, start_server: StartServer, tmp_path: Path
) -> None:
    """Interfaces 27; with a wrong key it can read why not, and unnamed it reads nothing."""
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="utf-8")
    asked = start_server("--api-key-file", str(keys), "--cors-origin", server.rest)
    answer = ask(browser, server, asked, KEY)
    assert (answer["status"], answer["id"]) == (200, "from-a-page")
    assert str(answer["text"]).endswith("data: [DONE]\n\n")
    refused = ask(browser, server, asked, f"{KEY}-no")
    assert refused["status"] == 401
    assert "invalid_api_key" in str(refused["text"])
    assert "refused" in ask(browser, asked, server, KEY)
    # The page of the probes has no icon, and the browser tells why it refused the last one.
    assert any("CORS policy" in complaint for complaint in browser.complaints())
