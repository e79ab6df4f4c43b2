"""The shape of the tree: short files, no test packages, nothing of one machine in it."""

import re
from pathlib import Path

MAX_LINES = 300
MAX_BYTES = 15 * 2**20  # one shard of the bundled model's weights
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
JUNK_DRAWERS = re.compile(r"^(utils?|common|helpers?|misc)(\.py)?$")

# Places of one machine, and hosts that an install must not be tied to (pip's own settings say
# where packages come from; PyTorch's CPU index is the one exception and not on this list).
OF_ONE_MACHINE = {
    "an absolute path of one machine": re.compile(r"(?<![\w.\])}])/(home|root|work|Users)/\w"),
    "a package index": re.compile(r"(pypi|pythonhosted|npmjs)\.(org|com)"),
    "a private address": re.compile(r"\b(10|192\.168)(\.\d{1,3}){2,3}\b(?!\.)"),
    "a key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|\bgh[pousr]_\w{20}|\bsk-\w{20}"),
}


def text_files(files: list[Path]) -> list[tuple[Path, str]]:
    texts: list[tuple[Path, str]] = []
    for path in files:
        content = path.read_bytes()
        if b"\0" not in content:
            texts.append((path, content.decode("utf-8")))
    return texts


def test_no_source_file_is_longer_than_300_lines(tracked_files: list[Path]) -> None:
    sources = [path for path in tracked_files if path.suffix in {".py", ".sh", ".toml"}]
    written = [path for path in sources if not GENERATED.search(path.name)]
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in written}
    assert len(lengths) > 50
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_no_module_is_a_junk_drawer(tracked_files: list[Path]) -> None:
    parts = {part for path in tracked_files for part in path.parts}
    assert not [part for part in parts if JUNK_DRAWERS.match(part)]


def test_tests_are_no_packages(tracked_files: list[Path], repository: Path) -> None:
    # tests/service/__init__.py would shadow the package under test.
    packages = [path for path in tracked_files if path.name == "__init__.py"]
    assert not [path for path in packages if (repository / "tests") in path.parents]


def test_python_sources_are_ascii(tracked_files: list[Path], repository: Path) -> None:
    # Text in other scripts is what tests are made of; everywhere else it would be an accident.
    tests = repository / "tests"
    sources = [path for path in tracked_files if path.suffix == ".py" and tests not in path.parents]
    assert not [path for path in sources if not path.read_bytes().isascii()]


def test_nothing_of_one_machine_is_in_the_tree(tracked_files: list[Path], repository: Path) -> None:
    this_test = Path(__file__).resolve()
    found = [
        f"{path.relative_to(repository)}: {what}: {match[0]}"
        for path, text in text_files([path for path in tracked_files if path != this_test])
        for what, pattern in OF_ONE_MACHINE.items()
        if (match := pattern.search(text))
    ]
    assert not found


def test_no_file_is_larger_than_one_shard_of_weights(tracked_files: list[Path]) -> None:
    sizes = {str(path): path.stat().st_size for path in tracked_files}
    assert not {name: size for name, size in sizes.items() if size > MAX_BYTES}


def test_every_decision_says_what_would_change_it(repository: Path) -> None:
    pages = sorted((repository / "docs" / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert numbers
    assert all(number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)
    parts = ("Context", "Decision", "Consequences", "What would change our mind")
    for page in pages:
        text = page.read_text(encoding="utf-8").lower()
        assert not [part for part in parts if part.lower() not in text], page.name
