"""The corpus's settings: each with its help text, checked when they are made."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from training.corpus.document import CorpusError

__all__ = ["BadRecords", "CorpusSettings", "HeldOutBy", "InvalidText", "Rule"]

BadRecords = Literal["error", "skip"]
Rule = Literal["auto", "on", "off"]
HeldOutBy = Literal["auto", "document", "blocks", "tail"]
InvalidText = Literal["replace", "skip", "error"]

DEFAULT_INCLUDE = tuple(
    f"*.{kind}{packed}" for kind in ("txt", "md", "jsonl") for packed in ("", ".gz", ".xz")
)


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """Where the text comes from, how it is cleaned and what of it is held out.

    Raises:
        CorpusError: a value is out of its range, by setting, limit and value.
    """

    sources: tuple[str, ...] = field(
        metadata={
            "help": "Texts to learn from, one or more: a file, a folder (searched with all its "
            "subfolders), a tar archive (.tar, .tar.gz, .tar.xz), or dist:NAME/GLOB for text files "
            "of an installed Python distribution."
        }
    )
    include: tuple[str, ...] = field(
        default=DEFAULT_INCLUDE,
        metadata={
            "help": "Globs a file's name inside a folder or archive must match; * also matches /."
        },
    )
    exclude: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Globs of files in folders and archives that are left out."},
    )
    jsonl_field: str = field(
        default="text",
        metadata={"help": "The field of each .jsonl record that holds its text."},
    )
    bad_records: BadRecords = field(
        default="error",
        metadata={
            "help": "A .jsonl record that is no JSON object or has no such text field: error, or "
            "skip (counted)."
        },
    )
    encoding: str = field(
        default="auto",
        metadata={
            "help": "The files' character encoding. auto: a byte order mark decides, else UTF-8, "
            "else the encoding that a Project Gutenberg header names. Or a name such as "
            "windows-1251, gb18030, latin-1."
        },
    )
    invalid_text: InvalidText = field(
        default="replace",
        metadata={
            "help": "Bytes that are not valid in the encoding: replace each by U+FFFD, skip the "
            "whole document, or error. Counted and announced in any case."
        },
    )
    max_invalid_fraction: float = field(
        default=0.01,
        metadata={
            "help": "With invalid_text = replace: most of a file that may be replaced before it is "
            "taken for a file in another encoding, which is an error."
        },
    )
    cut_gutenberg: Rule = field(
        default="auto",
        metadata={
            "help": "Cut Project Gutenberg's header and licence at their START and END lines. "
            "auto: unless that would remove more than max_removed_fraction of the file."
        },
    )
    join_wrapped_lines: Rule = field(
        default="auto",
        metadata={
            "help": "Join hard-wrapped lines to one line a paragraph; verse, plays, lists and "
            "tables keep their lines. auto: in files whose line lengths show that they are "
            "wrapped; on: in every file."
        },
    )
    strip_markdown: Rule = field(
        default="auto",
        metadata={
            "help": "Take Markdown's marks away (headings, emphasis, links, quotes, rules, code "
            "marks, escapes, comments) and keep the text, its lines and the lists' dashes. auto: "
            "in .md files that use such marks; on: in every text."
        },
    )
    max_removed_fraction: float = field(
        default=0.2,
        metadata={
            "help": "Most of a file, in bytes, that cleaning rules set to auto may remove; a rule "
            "that would go beyond leaves that file as it is and says so."
        },
    )
    held_out_by: HeldOutBy = field(
        default="auto",
        metadata={
            "help": "What is held out for measuring: document (whole documents), blocks (stretches "
            "spread evenly over the text), tail (the exact last part), or auto: document where at "
            "least 5 documents allow a size near the wanted one, else blocks."
        },
    )
    held_out_fraction: float = field(
        default=0.1,
        metadata={"help": "Share of the text, in bytes, that is held out."},
    )
    max_held_out_bytes: int = field(
        default=2_000_000,
        metadata={
            "help": "Most text, in bytes, that is held out by held_out_fraction, however large the "
            "corpus; held_out_paths are not limited."
        },
    )
    held_out_paths: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Globs of files that are held out, all the others are trained on; replaces "
            "held_out_by and held_out_fraction."
        },
    )
    split_seed: int = field(
        default=0,
        metadata={"help": "Seed of the choice of what is held out."},
    )
    max_document_bytes: int = field(
        default=16_000_000,
        metadata={
            "help": "A longer file is read in parts of this size, cut between paragraphs (else "
            "lines, sentences, words); cut_gutenberg, join_wrapped_lines and strip_markdown are "
            "not applied to it."
        },
    )

    def __post_init__(self) -> None:
        if not self.sources or not all(self.sources):
            raise CorpusError("corpus.sources is empty, at least one file or folder is needed")
        for name in ("max_invalid_fraction", "max_removed_fraction", "held_out_fraction"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise CorpusError(f"corpus.{name} is {value}, but has to be from 0 to 1")
        if not 0.0 < self.held_out_fraction <= 0.5:
            raise CorpusError(
                f"corpus.held_out_fraction is {self.held_out_fraction}, but has to be above 0 and "
                f"at most 0.5"
            )
        for name, least in (("max_held_out_bytes", 1_000), ("max_document_bytes", 10_000)):
            if getattr(self, name) < least:
                raise CorpusError(
                    f"corpus.{name} is {getattr(self, name)}, but has to be at least {least}"
                )
        for name, choices in (
            ("cut_gutenberg", get_args(Rule)),
            ("join_wrapped_lines", get_args(Rule)),
            ("strip_markdown", get_args(Rule)),
            ("held_out_by", get_args(HeldOutBy)),
            ("invalid_text", get_args(InvalidText)),
            ("bad_records", get_args(BadRecords)),
        ):
            if getattr(self, name) not in choices:
                raise CorpusError(
                    f"corpus.{name} is {getattr(self, name)!r}, but has to be one of "
                    f"{', '.join(choices)}"
                )
