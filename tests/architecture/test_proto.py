"""The wire contract: linted, described field by field, and never changed under its clients."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "buf"
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_lint_is_clean(repository: Path) -> None:
    """Interfaces 33; the comment rules are among those of buf.yaml."""
    done = buf("lint", repository / "proto")
    assert done.stdout + done.stderr == ""


def generate(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "proto/generate.py", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_committed_stubs_are_what_the_proto_files_give(repository: Path) -> None:
    done = generate(repository, "--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_stub_is_noticed(repository: Path, tmp_path: Path) -> None:
    """The control of the test above."""
    assert generate(repository, tmp_path).returncode == 0
    stub = tmp_path / "nextword" / "v1" / "text_generation_pb2.py"
    stub.write_text(stub.read_text() + "# changed\n")
    done = generate(repository, "--check", tmp_path)
    assert done.returncode == 1
    assert "text_generation_pb2.py" in done.stderr


def test_languages_have_their_packages(repository: Path) -> None:
    for path in sorted((repository / "proto/nextword/v1").glob("*.proto")):
        text = path.read_text(encoding="utf-8")
        for option in ("go_package", "java_package", "csharp_namespace"):
            assert re.search(rf'^option {option} = "[^"]+";$', text, re.MULTILINE), option


@pytest.mark.parametrize(
    ("file", "num_requests"),
    [("text_generation", 6), ("token_inspection", 1), ("glass_box", 6)],
)
def test_every_optional_field_states_its_default_and_every_parameter_its_range(
    repository: Path, file: str, num_requests: int
) -> None:
    text = (repository / f"proto/nextword/v1/{file}.proto").read_text(encoding="utf-8")
    requests = re.findall(
        r"^message (\w+Request|SamplingParameters) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL
    )
    assert len(requests) == num_requests
    for message, body in requests:
        fields = re.findall(r"((?:^ *//.*\n)+) *optional (\w+) (\w+) =", body, re.MULTILINE)
        assert fields or message in ("ListModelsRequest", "GetModelRequest"), message
        for comment, kind, name in fields:
            assert "Default" in comment, f"{message}.{name}"
            if kind in ("int32", "uint64", "double"):
                assert re.search(r"from (-?\d|start)|above \d", comment) or name == "top_k", name


def test_what_is_published_is_what_the_files_say(repository: Path) -> None:
    """Interfaces 33: a field that was published once keeps its number, name and type."""
    done = buf("breaking", repository / "proto", "--against", repository / "proto/published.binpb")
    assert (done.returncode, done.stdout) == (0, "")
    back = buf("breaking", repository / "proto/published.binpb", "--against", repository / "proto")
    assert (back.returncode, back.stdout) == (0, ""), "run `make proto`"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optional int32 top_k = 4;", "optional int32 top_k = 44;"),
        ("optional double top_p = 5;", "optional float top_p = 5;"),
        ("  FINISH_REASON_LENGTH = 3;", "  FINISH_REASON_ENOUGH = 3;"),
        ("rpc GetModel(GetModelRequest)", "rpc FindModel(GetModelRequest)"),
    ],
)
def test_a_change_that_breaks_clients_is_noticed(
    repository: Path, tmp_path: Path, old: str, new: str
) -> None:
    """The control of the test above."""
    shutil.copytree(repository / "proto", tmp_path / "proto")
    file = tmp_path / "proto/nextword/v1/text_generation.proto"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    done = buf("breaking", tmp_path / "proto", "--against", repository / "proto/published.binpb")
    assert done.returncode != 0
    assert "text_generation.proto" in done.stdout
