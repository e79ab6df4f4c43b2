"""The build of the compiled kernels, and what happens where there are none."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from model.config import ModelConfig
from model.transformer import Transformer
from model.weights import save_weights
from service.engine import executor_choice
from service.engine.cpu import build
from service.engine.cpu.kernel_library import LibraryError, load_library
from service.engine.loading import LoadError, build_engine
from service.engine.messages import Load

ANSWER = 'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """Sources that are compiled at once."""
    folder = tmp_path / "native"
    folder.mkdir()
    (folder / "answer.cpp").write_text(ANSWER)
    (folder / "isa_name.cpp").write_text(
        "#define NAME_(set) name_##set\n#define NAME(set) NAME_(set)\n"
        'extern "C" int NAME(NEXTWORD_ISA)() { return 1; }\n'
    )
    (folder / "nextword_answer.h").write_text("int answer();\n")
    return folder


def test_a_library_is_current_until_a_source_changes(native: Path, tmp_path: Path) -> None:
    compiler = build.find_compiler()
    assert compiler is not None
    library = tmp_path / "answer.so"
    assert not build.is_current(library, native)
    build.build(compiler, library=library, native=native)
    assert build.is_current(library, native)
    before = library.read_bytes()
    mark = build.interface_mark(native)
    (native / "answer.cpp").write_text(ANSWER.replace("42", "43"))
    assert not build.is_current(library, native)
    assert build.interface_mark(native) == mark
    (native / "nextword_answer.h").write_text("long answer();\n")
    assert build.interface_mark(native) != mark
    # What does not compile leaves the old one in its place, and says what the compiler said.
    (native / "answer.cpp").write_text("int answer( {\n")
    with pytest.raises(build.BuildError, match=r"answer\.cpp"):
        build.build(compiler, library=library, native=native)
    assert library.read_bytes() == before


def test_a_library_with_another_interface_is_refused(native: Path, tmp_path: Path) -> None:
    """Its structures may have other fields: a call would write anywhere."""
    compiler = build.find_compiler()
    assert compiler is not None
    library = tmp_path / "answer.so"
    build.build(compiler, library=library, native=native)
    with pytest.raises(LibraryError, match="run `make install`"):
        load_library(library)
    damaged = tmp_path / "damaged.so"
    damaged.write_text("no library")
    with pytest.raises(LibraryError, match="can be loaded"):
        load_library(damaged)
    with pytest.raises(LibraryError, match="a C\\+\\+ compiler and `make install`"):
        load_library(tmp_path / "nowhere.so")


def run_build(folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The build script in a folder of its own, as an install runs it."""
    return subprocess.run(
        [sys.executable, str(folder / "build.py")],
        env={**os.environ, "PATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_install_without_a_compiler_says_so_in_a_line_and_goes_on(
    native: Path, tmp_path: Path
) -> None:
    shutil.copy(build.__file__, tmp_path)
    done = run_build(tmp_path, {})
    assert done.returncode == 0
    assert done.stderr.startswith("No C++ compiler")
    assert len(done.stderr.splitlines()) == 1
    assert run_build(tmp_path, {"NEXTWORD_REQUIRE_KERNELS": "1"}).returncode == 1
    (native / "answer.cpp").write_text("int answer( {\n")
    found = os.environ["PATH"]
    done = run_build(tmp_path, {"PATH": found})
    assert done.returncode == 0
    assert "cannot be built" in done.stderr
    (native / "answer.cpp").write_text(ANSWER)
    assert "built by" in run_build(tmp_path, {"PATH": found}).stdout
    # Nothing is compiled again, so nothing needs the compiler.
    assert "built already" in run_build(tmp_path, {}).stdout


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A very small model, stored in bf16."""
    config = ModelConfig(
        vocab_size=19,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=40,
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict(dtype="bfloat16")))
    save_weights(model, folder, dtype=torch.bfloat16, max_shard_bytes=1 << 24)
    return Load(
        directory=str(folder),
        device="cpu",
        dtype="auto",
        num_threads=1,
        max_running=3,
        max_context_tokens=None,
    )


def without_kernels() -> None:
    raise LibraryError("compiled kernels, which are not here")


def test_without_kernels_torch_computes_and_a_line_says_so(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor_choice, "load_library", without_kernels)
    with caplog.at_level(logging.INFO):
        _, loaded = build_engine(load)
    assert loaded.executor == "eager"
    assert [record.getMessage() for record in caplog.records] == [
        "the executor is eager: cpu-kernels needs compiled kernels, which are not here"
    ]
    for changes in ({"executor": "cpu-kernels"}, {"dtype": "int8"}):
        with pytest.raises(LoadError, match="needs compiled kernels, which are not here"):
            build_engine(replace(load, **changes))


@pytest.mark.parametrize(
    ("dtype", "loaded_dtype"),
    [("auto", "bfloat16"), ("f32", "float32"), ("bf16", "bfloat16"), ("int8", "int8")],
)
def test_weights_are_packed_as_the_setting_says(load: Load, dtype: str, loaded_dtype: str) -> None:
    _, loaded = build_engine(replace(load, dtype=dtype, executor="cpu-kernels"))
    assert (loaded.executor, loaded.dtype) == ("cpu-kernels", loaded_dtype)
    assert loaded.deterministic


def test_eight_bits_are_for_the_kernels_alone(load: Load) -> None:
    with pytest.raises(LoadError, match="dtype int8 is for the executor cpu-kernels alone"):
        build_engine(replace(load, dtype="int8", executor="eager"))
