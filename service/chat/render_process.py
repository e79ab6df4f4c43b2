"""A process that writes conversations with chat templates and can do nothing else.

Templates come from model folders, so they are other people's programs: this one runs them in
Jinja's immutable sandbox, with bounds on processor time, memory and length that hold for whatever
they do (docs/decisions/0092). It knows nothing of ours: a frame of JSON in, a frame out.
"""

import codecs
import contextlib
import importlib
import json
import resource
import signal
import struct
import sys
import time
from datetime import datetime
from functools import lru_cache
from typing import NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__: list[str] = []

MAX_MEMORY_BYTES = 512 << 20
# Of a template's own words; they are for one line.
_MAX_SHOWN = 200
_LENGTH = struct.Struct("<I")


class _RefusedError(TemplateError):
    """The template itself says that it cannot write this conversation."""


class _Generation(Extension):
    """The tag around what a model writes, which only training reads."""

    tags = {"generation"}  # noqa: RUF012 - the library's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements between the tags, as they are."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: object) -> NoReturn:
    raise _RefusedError(str(message)[:_MAX_SHOWN])


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own would write characters of HTML as escapes.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


@lru_cache(maxsize=16)
def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    own = {"raise_exception": _refuse, "strftime_now": _now}
    return environment.from_string(source, globals=own)


def _render(source: str, variables: dict[str, object], max_characters: int) -> dict[str, str]:
    pieces: list[str] = []
    num_characters = 0
    try:
        for piece in _compiled(source).generate(**variables):
            num_characters += len(piece)
            if num_characters > max_characters:
                return {"failure": f"writes more than {max_characters} characters"}
            pieces.append(piece)
    except _RefusedError as error:
        return {"failure": f"says: {error.message}"}
    except TemplateSyntaxError as error:
        return {"failure": f"is no template: line {error.lineno}"}
    except MemoryError:
        return {"failure": f"needs more than {MAX_MEMORY_BYTES >> 20} MiB"}
    except Exception as error:
        # Whatever a foreign program may raise; its words may quote anything, its kind does not.
        return {"failure": f"cannot write them ({type(error).__name__})"}
    return {"text": "".join(pieces)}


def _limit() -> None:
    """Take from this process what it does not need: memory, files, sockets."""
    # What is read from files only when it is needed: the time zone, what literals are decoded with,
    # what a failing template is looked at with.
    time.tzset()
    codecs.lookup("unicode_escape")
    importlib.import_module("jinja2.debug")
    for kind, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # macOS knows some of them by name only.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def _main() -> None:
    _limit()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(_LENGTH.size):
        request = json.loads(requests.read(_LENGTH.unpack(head)[0]))
        # Beyond it the system ends this process, in the middle of whatever it does.
        signal.setitimer(signal.ITIMER_PROF, request["processor_seconds"])
        answer = _render(request["source"], request["variables"], request["max_characters"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Lone surrogates, which a template can make, travel as escapes.
        data = json.dumps(answer).encode("ascii")
        answers.write(_LENGTH.pack(len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    _main()
