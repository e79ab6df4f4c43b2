"""Chat templates: what they write, and that none of them can do anything else (H4)."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.chat import template_process
from service.chat.chat_template import ChatTemplate
from service.chat.messages import ChatMessage
from service.chat.template_process import ProcessSilentError, TemplateProcess
from service.chat.template_renderer import TemplateRenderer
from service.errors import ErrorKind, RequestError
from tests.contract.live_server import is_gone, wait_until

HELLO = ChatMessage(role="user", content="Hello")
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    renderer = TemplateRenderer(processor_seconds=0.5, patience_seconds=60)
    yield renderer
    renderer.close()


def render(renderer: TemplateRenderer, source: str, *messages: ChatMessage) -> str:
    template = ChatTemplate(source, {"bos_token": "<s>"})
    return asyncio.run(renderer.render(template, messages or [HELLO]))


def refusal(renderer: TemplateRenderer, source: str) -> str:
    with pytest.raises(RequestError) as refused:
        render(renderer, source)
    assert (refused.value.kind, refused.value.field) == (ErrorKind.INVALID_VALUE, "messages")
    return refused.value.message


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (PLAIN, "user: Hello\n"),
        ("{{ bos_token }}{% if add_generation_prompt %}go{% endif %}", "<s>go"),
        ("  {% if not tools and documents is none %}\nno tools\n  {% endif %}\n", "no tools\n"),
        ("{{ {'b': '\u00e9<', 'a': 1} | tojson }}", '{"b": "\u00e9<", "a": 1}'),
        ("{% generation %}a{{ messages | length }}{% endgeneration %}b", "a1b"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{% set ns = namespace(n=0) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
        ("{{ messages[0].name | default('nobody') }}", "nobody"),
    ],
)
def test_templates_write_as_in_transformers(
    renderer: TemplateRenderer, source: str, written: str
) -> None:
    assert render(renderer, source) == written


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        # What has taken over servers, and its kin.
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ messages.append({}) }}", "SecurityError"),
        ("{{ messages[0].update(role='system') }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        # Never ends.
        (
            "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
            "takes too long",
        ),
        ("{{ 10 ** (10 ** 10) }}", "takes too long"),
        # Takes all memory, in one operation and by reference.
        ("{{ 'a' * 10 ** 11 }}", "MiB"),
        ("{{ [messages[0].content * 10 ** 7] * 100 }}", "MiB|too long"),
        ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", "characters"),
        # Bad ones.
        ("{% for m in messages %}", "line 1"),
        ("{{ nobody.content.text }}", "UndefinedError"),
        ("{{ raise_exception('Roles\nmust alternate') }}", "says: Roles must alternate"),
        ("{{ raise_exception('x' * 10000) }}", "says: xxx"),
    ],
)
def test_nothing_else_comes_of_a_template_and_the_next_one_is_served(
    renderer: TemplateRenderer, source: str, reason: str
) -> None:
    """H4; and H19: of what Python says only the kind of an exception is told."""
    message = refusal(renderer, source)
    assert re.search(reason, message), message
    assert "\n" not in message
    assert len(message) < 300
    assert render(renderer, PLAIN) == "user: Hello\n"


def test_a_conversation_of_a_megabyte_is_written(renderer: TemplateRenderer) -> None:
    long = ChatMessage(role="user", content="\u732b \U0001f408 \x00 " * 120_000)
    assert render(renderer, PLAIN, long) == f"user: {long.content}\n"


def test_what_reaches_the_template_is_a_copy(renderer: TemplateRenderer) -> None:
    named = ChatMessage(role="assistant", content="", name="Ann")
    assert render(renderer, "{{ messages[0].name }}|{{ messages[0].content }}", named) == "Ann|"


def test_a_process_that_was_ended_is_replaced_before_the_next_conversation(
    renderer: TemplateRenderer,
) -> None:
    render(renderer, PLAIN)
    process_id = renderer.process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGKILL)
    wait_until(lambda: is_gone(process_id))
    assert render(renderer, PLAIN) == "user: Hello\n"
    assert renderer.process_id != process_id


def refusal_by(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RequestError:
    """What a conversation is told where a process does as this program does."""
    (tmp_path / "taken_over.py").write_text(program)
    monkeypatch.setattr(template_process, "_SCRIPT", tmp_path / "taken_over.py")
    renderer = TemplateRenderer()
    try:
        with pytest.raises(RequestError) as refused:
            render(renderer, PLAIN)
        monkeypatch.undo()
        # And the next one is served.
        assert render(renderer, PLAIN) == "user: Hello\n"
    finally:
        renderer.close()
    return refused.value


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        # The head of one of four gigabytes, that stays unread; none of JSON; of another shape.
        ("b'\\xff\\xff\\xff\\xff' + bytes(9)", "no usable answer"),
        ("b'\\x01\\0\\0\\0{'", "no usable answer"),
        ("b'\\x02\\0\\0\\0[]'", "no usable answer"),
        ("b'\\x0d\\0\\0\\0{\"failure\":1}'", "no usable answer"),
        # It ends in the middle, with every conversation.
        ("b'\\x09\\0'", "ends its process"),
        ("b''", "ends its process"),
    ],
)
def test_a_process_that_a_template_has_taken_over_is_told_as_the_templates_fault(
    answer: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """H4: never an internal error, whatever comes out of it."""
    program = f"import os\nos.read(0, 1 << 20)\nos.write(1, {answer})\n"
    error = refusal_by(program, monkeypatch, tmp_path)
    assert (error.kind, error.field) == (ErrorKind.INVALID_VALUE, "messages")
    assert reason in error.message


def test_a_template_says_no_more_than_a_line_whatever_it_sends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = (
        "import json, os, struct, sys\n"
        "os.read(0, 1 << 20)\n"
        "data = json.dumps({'failure': 'x' * 10 ** 6}).encode()\n"
        "sys.stdout.buffer.write(struct.pack('<I', len(data)) + data)\n"
    )
    assert len(refusal_by(program, monkeypatch, tmp_path).message) < 300


def asked(source: str, content: str = "") -> bytes:
    """What a process is asked to render."""
    messages = [{"role": "user", "content": content}]
    request = {
        "source": source,
        "max_characters": 1 << 20,
        "processor_seconds": 60,
        "variables": {"messages": messages},
    }
    return json.dumps(request).encode("ascii")


def test_a_process_that_is_stopped_is_silent_however_much_it_is_sent() -> None:
    """Processor time does not bound it then; and there may be more to send than a pipe holds."""
    for length in (1, 1_000_000):
        process = TemplateProcess()
        try:
            answer = process.exchange(asked("a"), patience_seconds=60, max_bytes=1000)
            assert json.loads(answer) == {"text": "a"}
            os.kill(process.process_id, signal.SIGSTOP)
            with pytest.raises(ProcessSilentError):
                process.exchange(asked("a", "a" * length), patience_seconds=0.1, max_bytes=1000)
        finally:
            process.kill()
        assert process.has_ended


def test_a_process_that_is_silent_is_ended_and_said_to_be_away() -> None:
    renderer = TemplateRenderer(patience_seconds=1e-6)
    with pytest.raises(RequestError) as refused:
        render(renderer, PLAIN)
    assert refused.value.kind is ErrorKind.ENGINE_UNAVAILABLE
    assert renderer.process_id is None
    renderer.close()


def test_a_templates_own_words_are_cut_where_it_runs() -> None:
    process = TemplateProcess()
    try:
        source = "{{ raise_exception('x' * 10 ** 6) }}"
        answer = process.exchange(asked(source), patience_seconds=60, max_bytes=1000)
        assert json.loads(answer) == {"failure": f"says: {'x' * 200}"}
    finally:
        process.close()


def test_a_template_that_never_ends_keeps_no_other_waiting(renderer: TemplateRenderer) -> None:
    """From its second conversation on: it has a process and a queue of its own."""
    endless = "{{ 9 ** (10 ** 10) }}"
    assert "too long" in refusal(renderer, endless)
    render(renderer, PLAIN)
    process_id = renderer.process_id

    async def body() -> None:
        template = ChatTemplate(endless, {})
        slow = [asyncio.create_task(renderer.render(template, [HELLO])) for _ in range(2)]
        await asyncio.sleep(0)
        await renderer.render(ChatTemplate(PLAIN, {}), [HELLO])
        assert not any(each.done() for each in slow)
        ends = await asyncio.gather(*slow, return_exceptions=True)
        assert all(isinstance(each, RequestError) for each in ends)

    asyncio.run(body())
    assert renderer.process_id == process_id


def test_it_holds_no_files_and_knows_nothing_of_our_environment(
    renderer: TemplateRenderer,
) -> None:
    render(renderer, PLAIN)
    folder = f"/proc/{renderer.process_id}"
    if not os.path.isdir(folder):
        pytest.skip("needs /proc")
    with open(f"{folder}/environ", "rb") as environment:
        assert b"PATH=" not in environment.read()
    assert sorted(map(int, os.listdir(f"{folder}/fd"))) == [0, 1, 2]


def test_it_ends_with_a_front_that_is_killed() -> None:
    """H108 for this child too: its pipe is its life."""
    program = (
        "import asyncio, os, signal\n"
        "from service.chat.chat_template import ChatTemplate\n"
        "from service.chat.template_renderer import TemplateRenderer\n"
        "renderer = TemplateRenderer()\n"
        "asyncio.run(renderer.render(ChatTemplate('a', {}), []))\n"
        "print(renderer.process_id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: is_gone(int(done.stdout)))
