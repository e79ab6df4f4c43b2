"""Foreign safetensors files: read as the safetensors library reads them, or refused in one way."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from model.artifact_error import ArtifactError
from model.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS, encode_header, read_header

JsonLeaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
Json = st.recursive(
    JsonLeaf,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "w"]), inner
        )
    ),
    max_leaves=12,
)


def _file(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def _entry(start: int, end: int, *, shape: list[int] | None = None) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.zeros((0, 4), np.int64),
        "c": np.array(7, np.uint8),
    }
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "np"})
    header = read_header(tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    assert {name: entry.shape for name, entry in header.tensors.items()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
    for name, tensor in tensors.items():
        entry = header.tensors[name]
        assert data[entry.start : entry.end] == tensor.tobytes()


def test_the_library_reads_what_is_encoded(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    header = encode_header([("a", "F32", (2, 3)), ("b", "U8", (5,))])
    assert len(header) % 8 == 0
    path = tmp_path / "w.safetensors"
    path.write_bytes(header + values.tobytes() + bytes(5))
    loaded = load_file(path)
    assert (loaded["a"] == values.reshape(2, 3)).all()
    assert loaded["b"].shape == (5,)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        pytest.param({"a": _entry(0, 8), "b": _entry(4, 12)}, bytes(12), id="overlapping"),
        pytest.param({"a": _entry(0, 4), "b": _entry(8, 12)}, bytes(12), id="gap"),
        pytest.param({"a": _entry(4, 8)}, bytes(8), id="gap at the start"),
        pytest.param({"a": _entry(0, 8)}, bytes(7), id="offset past the end"),
        pytest.param({"a": _entry(0, 8)}, bytes(9), id="bytes beyond the end"),
        pytest.param({"a": _entry(0, 8, shape=[3])}, bytes(8), id="place does not fit shape"),
        pytest.param({"a": _entry(0, 8, shape=[1 << 62, 1 << 62])}, bytes(8), id="huge shape"),
        pytest.param({"a": _entry(8, 0, shape=[-2])}, bytes(8), id="negative size"),
        pytest.param({"a": _entry(0, 4) | {"dtype": "F128"}}, bytes(4), id="unknown type"),
        pytest.param({"a": _entry(0, 4) | {"dtype": ["F32"]}}, bytes(4), id="type is a list"),
        pytest.param({"a": _entry(0, 4) | {"more": 1}}, bytes(4), id="unknown key"),
        pytest.param({"a": _entry(0, 4) | {"shape": [True]}}, bytes(4), id="boolean size"),
        pytest.param({"a": _entry(0, 4) | {"shape": [1.0]}}, bytes(4), id="fractional size"),
        pytest.param({"a": 1}, b"", id="entry is a number"),
        pytest.param({"__metadata__": 1}, b"", id="metadata is a number"),
        pytest.param([1], b"", id="list"),
        pytest.param(b'{"a": NaN}', b"", id="not a JSON number"),
        pytest.param(b'{"a": {}, "a": {}}', b"", id="name twice"),
        pytest.param(b"{" + b'"a":[' * 100_000, b"", id="nested deeply"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", b"", id="number of 5000 digits"),
        pytest.param(b"{\xff}", b"", id="not UTF-8"),
        pytest.param(b"", b"", id="empty header"),
    ],
)
def test_a_malformed_file_is_refused(header: object, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^.*w\.safetensors: "):
        read_header(_file(tmp_path / "w.safetensors", header, data))


def test_a_header_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(MAX_HEADER_BYTES + 100)  # sparse: nobody needs to read it
    with pytest.raises(ArtifactError, match="the limit is"):
        read_header(path)


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    header = {f"t{number}": _entry(0, 0, shape=[0]) for number in range(MAX_TENSORS + 1)}
    with pytest.raises(ArtifactError, match="10001 tensors, the limit is 10000"):
        read_header(_file(tmp_path / "w.safetensors", header))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            read_header(path)


def test_the_message_does_not_quote_the_file(tmp_path: Path) -> None:
    path = _file(tmp_path / "w.safetensors", {"SECRET": {"dtype": "SECRET"}})
    with pytest.raises(ArtifactError) as caught:
        read_header(path)
    assert "SECRET" not in str(caught.value)


@given(header=st.dictionaries(st.text(max_size=5), Json, max_size=4), data=st.binary(max_size=16))
def test_any_header_is_read_or_refused(
    header: object, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = _file(tmp_path_factory.mktemp("header") / "w.safetensors", header, data)
    _read_or_refuse(path)


@given(place=st.integers(0, 10_000), mask=st.integers(1, 255), cut=st.integers(0, 40))
def test_any_corruption_is_read_or_refused(
    place: int, mask: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("corrupt") / "w.safetensors"
    save_file({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.int64)}, path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= mask
    path.write_bytes(data[: len(data) - cut])
    _read_or_refuse(path)


@given(data=st.binary(max_size=64))
def test_any_bytes_are_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / "w.safetensors"
    path.write_bytes(data)
    _read_or_refuse(path)


def _read_or_refuse(path: Path) -> None:
    """Whatever is read accounts for every byte of the file."""
    try:
        header = read_header(path)
    except ArtifactError:
        return
    ends = [entry.end for entry in header.tensors.values()]
    assert max(ends, default=path.stat().st_size) == path.stat().st_size
