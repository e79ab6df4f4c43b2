"""``nextword-model`` as it is typed: what it says, its exit codes, what ``verify`` finds."""

import shutil
import struct
from pathlib import Path

import pytest

from model.exchange.command_line import main
from model.exchange.export_gguf import export_gguf
from model.exchange.import_gguf import import_gguf
from tests.model.tiny_gguf import write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    write_model(tmp_path / "folder")
    return tmp_path / "folder"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ending:
        status = int(ending.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_exports_imports_and_verifies(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, after = tmp_path / "model.gguf", tmp_path / "after"
    status, out, _ = run(capsys, "export", folder, "--format", "gguf", "--out", file)
    assert status == 0
    assert f"{file.stat().st_size:,} bytes" in out
    status, out, _ = run(capsys, "import", file, "--out", after, "--dtype", "bf16")
    assert status == 0
    assert "stored as bf16" in out
    assert f"nextword-serve --model {after}" in out
    status, out, _ = run(capsys, "verify", after)
    assert status == 0
    assert "all digests are those of manifest.json" in out
    assert out.endswith("nothing wrong\n")
    status, out, err = run(capsys, "import", file, "--out", after)
    assert (status, out) == (2, "")
    assert err.startswith("nextword-model: ")
    assert err.count("\n") == 1
    assert run(capsys, "export", folder, "--format", "onnx", "--out", file)[0] == 2


def test_verify_finds_one_changed_byte_anywhere(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    import_gguf(tmp_path / "model.gguf", tmp_path / "whole")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        data = bytearray((tmp_path / "copy" / name).read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / "copy" / name).write_bytes(data)
        status, _, err = run(capsys, "verify", tmp_path / "copy")
        assert status == 2
        assert f"{name}: its SHA-256 differs" in err
        shutil.rmtree(tmp_path / "copy")


def test_verify_reads_every_weight_of_a_folder_without_digests(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "verify", folder)
    assert status == 0
    assert "no manifest.json" in out
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("inf"))
    path.write_bytes(data)
    status, _, err = run(capsys, "verify", folder)
    assert status == 2
    assert "holds a value that is not finite" in err
