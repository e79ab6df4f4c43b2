"""Whatever a model or a prompt says is shown as text, readably, and never run.

A scripted server says what no real model would; the page and its policy are the real ones.
"""

import random

from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer, ending, event
from tests.page.scripted_tokens import Event, inspection

MARKUP = (
    "<img src=x onerror=\"document.title='run'\">",
    "<script>document.title='run'</script>",
    "</span><svg onload=document.title='run'>",
    "&lt;b&gt; &amp; <!-- --> ]]>",
    "javascript:document.title='run'",
    "{{7*7}} ${7*7}",
)
RIGHT_TO_LEFT_OVERRIDE = "\u202e"


def show(browser: Browser, server: ScriptedServer, *pieces: tuple[str, list[bytes]]) -> None:
    """Generate a continuation of pieces, each a text and the tokens that came with it."""
    events = [
        event(text, *(inspection(token, [b" x"]) for token in tokens)) for text, tokens in pieces
    ]
    server.script(*events, ending(sum(len(tokens) for _, tokens in pieces)))
    browser.open(server.address)
    browser.generate()


def test_markup_of_a_model_or_a_prompt_stays_text(
    browser: Browser, scripted: ScriptedServer
) -> None:
    browser.open(scripted.address)
    for text in MARKUP:
        scripted.script(event(text, inspection(text.encode(), [text.encode()])), ending(1))
        browser.fill("prompt", text)
        browser.generate()
        assert browser.texts("#tokens .token") == [text]
        assert browser.texts("#lead") == [text]
        assert text in browser.texts("#spoken")[0]
        # Spaces have become marks here.
        assert text.replace(" ", "") in browser.texts(".bar-name")[0]
        assert not browser.all("#sheet img, #sheet script, #sheet svg, .bars img, .bars svg")
        assert not browser.all(".line script, .line image, .choice img, .choice svg")
        assert browser.chromium.title == "Nextword"


def test_a_message_of_an_error_stays_text(browser: Browser, scripted: ScriptedServer) -> None:
    error = {"message": MARKUP[0], "type": "t", "param": MARKUP[1], "code": MARKUP[2]}
    scripted.script(event(" so", inspection(b" so")), {"error": error})
    browser.open(scripted.address)
    browser.generate()
    assert MARKUP[0] in browser.texts("#error")[0]
    assert not browser.all("#error img, #error svg, #error script")
    assert browser.texts("#tokens .token") == [" so"]
    assert browser.chromium.title == "Nextword"


def test_the_policy_refuses_what_a_script_would_inject(
    browser: Browser, scripted: ScriptedServer
) -> None:
    # The control of the tests above: markup that reached the page would be refused, and be heard.
    browser.open(scripted.address)
    refused = browser.script("try { document.body.innerHTML = '<b>' } catch (e) { return e.name }")
    assert refused == "TypeError"
    for source in ("document.body.setAttribute('onclick', 'x')", "setTimeout('x')"):
        refused = browser.script(f"try {{ {source} }} catch (error) {{ return error.name }}")
        assert refused == "TypeError", source
    outcome = browser.await_script("return (await fetch('http://127.0.0.1:1/')).status")
    assert "Failed to fetch" in outcome
    assert browser.chromium.title == "Nextword"
    complaints = " ".join(browser.complaints())
    for directive in ("connect-src", "TrustedHTML", "TrustedScript"):
        assert directive in complaints


def test_what_cannot_be_seen_becomes_a_mark(browser: Browser, scripted: ScriptedServer) -> None:
    tokens = [
        "a\nb",
        "\tc",
        "\x00\x1b[31m",
        f"{RIGHT_TO_LEFT_OVERRIDE}d",
        "\u200b",
        "\u3164\ufe0f\U000e0041",
    ]
    show(browser, scripted, *((token, [token.encode()]) for token in tokens))
    shown = browser.texts("#tokens .token")
    assert shown == ["a\nb", "\tc", "[31m", "d", "", ""]
    marks = [mark.get_attribute("data-mark") for mark in browser.all("#tokens .mark")]
    seen = ["\u23ce", "\u21e5", "U+0000", "U+001B", "U+202E", "U+200B"]
    assert marks == [*seen, "U+3164", "U+FE0F", "U+E0041"]


def test_half_a_character_shows_its_bytes_and_the_whole_one_once(
    browser: Browser, scripted: ScriptedServer
) -> None:
    first, second, third = b"\xe2", b"\x82", b"\xac!"
    show(browser, scripted, ("", []), ("\u20ac!", [first, second, third]))
    assert browser.texts("#tokens .token") == ["", "", "\u20ac!"]
    marks = [mark.get_attribute("data-mark") for mark in browser.all("#tokens .mark")]
    assert marks == ["e2", "82", "ac 21"]


def test_a_byte_order_mark_is_a_character_like_any_other(
    browser: Browser, scripted: ScriptedServer
) -> None:
    show(browser, scripted, ("\ufeffa", [b"\xef\xbb\xbfa"]), (" b", [b" b"]), (" c", [b" c"]))
    assert browser.texts("#tokens .token") == ["a", " b", " c"]
    marks = [mark.get_attribute("data-mark") for mark in browser.all("#tokens .mark")]
    assert marks == ["U+FEFF"]


def test_text_held_back_goes_to_the_token_that_it_belongs_to(
    browser: Browser, scripted: ScriptedServer
) -> None:
    # What may become a stop string is held back: a token can come before the end of its text.
    show(browser, scripted, (" the", [b" the end"]), (" end of", [b" of"]), (" it", [b" it all"]))
    assert browser.texts("#tokens .token") == [" the end", " of", " it"]


def test_any_bytes_in_any_pieces_show_the_text_of_the_stream(
    browser: Browser, scripted: ScriptedServer
) -> None:
    seed = 20261123
    source = random.Random(seed)
    browser.open(scripted.address)
    alphabet = [b"a", b" ", b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xff", "\u4f60".encode()]
    cases: list[list[Event]] = []
    for _ in range(150):
        tokens = [b"".join(source.choices(alphabet, k=source.randint(1, 3))) for _ in range(6)]
        text = b"".join(tokens).decode("utf-8", "replace")
        cuts = sorted(source.choices(range(len(text) + 1), k=2))
        parts = (text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :])
        # Every token comes no later than its first character.
        cases.append([event(parts[0], *map(inspection, tokens)), event(parts[1]), event(parts[2])])
    shown = browser.await_script(
        """
        const { Passage } = await import("/page/passage.js");
        const { Strip } = await import("/page/strip.js");
        return given[0].map((events) => {
          const sheet = document.createElement("div");
          const [lead, tokens] = ["span", "span"].map((tag) => document.createElement(tag));
          sheet.append(lead, tokens);
          const passage = new Passage({ model: "m", settings: null });
          const strip = new Strip({ lead, tokens }, () => {});
          for (const { inspections, text } of events) {
            strip.add(inspections.map((record) => passage.add(record)), text);
          }
          return tokens.textContent;
        });
        """,
        cases,
    )
    for events, text in zip(cases, shown, strict=True):
        whole = "".join(str(each["text"]) for each in events)
        assert text == whole.replace("\ufffd", ""), (seed, events)
