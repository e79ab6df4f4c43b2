"""What the library asks of an environment, and what it shows of itself."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nextword
import pytest

PACKAGE = Path(nextword.__file__).parent
# Each would be an ImportError if anything of the library alone asked for it.
WITHOUT_EXTRA = """
import importlib, sys
for name in ("torch", "numpy", "fastapi", "uvicorn", "msgspec", "pydantic", "typer", "rich"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
OF_THE_COMMAND = ("command_line", "v1")


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_library_needs_neither_torch_nor_what_the_command_needs() -> None:
    paths = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py")]
    names = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in paths
        if path.parts[1] not in OF_THE_COMMAND
    ]
    assert {"nextword", "nextword.client", "nextword.bench.closed_loop"} <= set(names)
    done = run_python(WITHOUT_EXTRA, *names)
    assert done.stderr == ""
    # The control: the same way notices a module that does need the extra.
    done = run_python(WITHOUT_EXTRA, "nextword.command_line.application")
    assert "typer" in done.stderr


def test_a_missing_extra_is_one_line_that_names_it() -> None:
    script = (
        "import sys; sys.modules['typer'] = None; sys.argv = ['nextword', 'models']; "
        "from nextword.command_line import main; main()"
    )
    done = run_python(script)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nextword: typer is missing: pip install 'nextword[cli]'\n"


def test_importing_the_messages_loads_no_http_library() -> None:
    """The server's front imports nextword.v1 and should not pay for the client."""
    script = (
        "import sys; from nextword.v1 import text_generation_pb2; "
        "print(sorted({'httpx2', 'nextword.client', 'asyncio'} & set(sys.modules)))"
    )
    assert run_python(script).stdout == "[]\n"


def test_names_for_type_checkers_are_those_that_can_be_loaded() -> None:
    tree = ast.parse(Path(nextword.__file__).read_text(encoding="utf-8"))
    declared = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nextword.")
        for alias in node.names
    }
    assert sorted(declared) == sorted(nextword.__all__) == dir(nextword)
    for name, module in declared.items():
        assert getattr(nextword, name).__module__ == module


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = nextword.nothing_of_the_kind


def test_both_clients_offer_the_same_calls() -> None:
    def calls(kind: type) -> list[str]:
        return [name for name in vars(kind) if not name.startswith("_")]

    for blocking, awaited in (
        (nextword.Client, nextword.AsyncClient),
        (nextword.TextStream, nextword.AsyncTextStream),
        (nextword.ChatStream, nextword.AsyncChatStream),
        (nextword.GlassBox, nextword.AsyncGlassBox),
    ):
        assert calls(blocking) == calls(awaited)
        for name in ("__init__", *calls(blocking)):
            ours, theirs = getattr(blocking, name), getattr(awaited, name)
            if callable(ours) and name != "__init__":
                assert parameters(ours) == parameters(theirs)
    assert parameters(nextword.Client) == parameters(nextword.AsyncClient)


def parameters(call: Callable[..., object]) -> list[inspect.Parameter]:
    return list(inspect.signature(call).parameters.values())
