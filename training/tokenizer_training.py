"""Trains the four kinds of tokenizer on a stream of texts and saves them for transformers.

Knows nothing of files or corpora: it takes an iterable of texts and a size. Every kind has the
control token END_OF_TEXT as id 0.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from model.tokenizer import END_OF_TEXT, UNKNOWN, TokenizerError
from training.text_cuts import cut_text

__all__ = [
    "BYTE_VOCABULARY_SIZE",
    "TokenizerKind",
    "save_tokenizer",
    "suggested_vocabulary_size",
    "train_tokenizer",
]

TokenizerKind = Literal["byte_bpe", "words", "characters", "bytes"]

BYTE_VOCABULARY_SIZE = 257  # the 256 bytes and END_OF_TEXT

# A merge or a word that occurs once teaches nothing but the place where it occurred.
_MIN_FREQUENCY = 2
# What one call into the library gets: small enough to spread over cores, large enough to be cheap.
_PIECE_CHARACTERS = 65_536

# One token each: a letter of a script that is written without spaces; a word with inner
# apostrophes; a number; any other visible character; and each white space that precedes none of
# them. A single space in front belongs to the token, so that joining tokens gives the text back.
_WORD_PATTERN = (
    r" ?[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"| ?\p{L}[\p{L}\p{M}]*(?:['\u2019]\p{L}[\p{L}\p{M}]*)*"
    r"| ?\p{N}+"
    r"| ?[^\s\p{L}\p{N}]"
    r"|\s"
)


def suggested_vocabulary_size(train_bytes: int) -> int:
    """A byte-level BPE size that suits a corpus: about one merge for every 100 to 20,000 bytes.

    Args:
        train_bytes: UTF-8 bytes of the training text.
    """
    steps = (
        (20_000, 320),
        (75_000, 512),
        (500_000, 1_024),
        (5_000_000, 2_048),
        (60_000_000, 4_096),
        (600_000_000, 8_192),
    )
    for below, size in steps:
        if train_bytes < below:
            return size
    return 16_384


def train_tokenizer(
    documents: Iterable[str],
    *,
    kind: TokenizerKind,
    vocab_size: int | None,
    announce: Callable[[str], None],
    total_bytes: int | None = None,
    max_training_bytes: int = 100_000_000,
) -> Tokenizer:
    """Learns a vocabulary from texts, one text in memory at a time.

    Args:
        documents: the training texts, read once.
        kind: byte-level BPE with GPT-2's pre-tokenizer, whole words with punctuation as tokens of
            their own, characters, or bytes.
        vocab_size: number of ids, END_OF_TEXT included. None takes what suits the text: every
            character or byte; for byte_bpe at most `suggested_vocabulary_size`, for words at most
            twice that, or fewer where the text supports fewer.
        announce: told in a line when only a part of the text is used.
        total_bytes: UTF-8 bytes of all documents, if known; a size of None depends on it. Above
            `max_training_bytes` an even share of every stretch of the text is used; unknown, the
            text up to that size.
        max_training_bytes: most text that is counted.

    Raises:
        TokenizerError: the size is out of the kind's range or larger than the text supports.
    """
    _check_size(kind, vocab_size)
    suggested = suggested_vocabulary_size(
        max_training_bytes if total_bytes is None else total_bytes
    )
    texts = _sample(
        documents, total_bytes=total_bytes, max_bytes=max_training_bytes, announce=announce
    )
    match kind:
        case "byte_bpe":
            tokenizer = _train_byte_bpe(texts, vocab_size or suggested)
        case "words":
            tokenizer = _train_words(texts, vocab_size or 2 * suggested)
        case "characters":
            tokenizer = _train_characters(texts, vocab_size)
        case "bytes":
            tokenizer = _byte_tokenizer()
    reached = tokenizer.get_vocab_size(with_added_tokens=True)
    if vocab_size is not None and reached < vocab_size:
        times = 1 if kind == "characters" else _MIN_FREQUENCY
        raise TokenizerError(
            f"tokenizer.vocabulary_size is {vocab_size}, but this text supports at most {reached} "
            f"tokens of kind {kind} (each has to occur {times} times or more)"
        )
    tokenizer.encode_special_tokens = True
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, context_length: int) -> None:
    """Writes tokenizer.json and tokenizer_config.json as transformers reads them.

    Args:
        tokenizer: one that `train_tokenizer` made.
        directory: an existing folder.
        context_length: most tokens the model can see, told to transformers.
    """
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        # Control tokens in a user's text are ordinary text, there as here.
        "split_special_tokens": True,
    }
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    text = json.dumps(config, indent=2, ensure_ascii=True) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _check_size(kind: TokenizerKind, vocab_size: int | None) -> None:
    match kind:
        case "byte_bpe":
            least = BYTE_VOCABULARY_SIZE + 1
        case "words" | "characters":
            least = 3
        case "bytes":
            if vocab_size not in (None, BYTE_VOCABULARY_SIZE):
                raise TokenizerError(
                    f"tokenizer.vocabulary_size is {vocab_size}, but the kind bytes has always "
                    f"{BYTE_VOCABULARY_SIZE} tokens"
                )
            return
    if vocab_size is not None and vocab_size < least:
        raise TokenizerError(
            f"tokenizer.vocabulary_size is {vocab_size}, but the kind {kind} needs at least {least}"
        )


def _train_byte_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def _train_words(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocab={UNKNOWN: 0}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD_PATTERN), "isolated")
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    by_id = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda entry: entry[1])
    words = [word for word, _ in by_id if word not in (UNKNOWN, END_OF_TEXT)]
    tokenizer.model = models.WordLevel(vocab=_numbered(words[: vocab_size - 2]), unk_token=UNKNOWN)
    return _finished(tokenizer)


def _train_characters(texts: Iterable[str], vocab_size: int | None) -> Tokenizer:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    del counts[UNKNOWN]
    by_count = sorted(counts, key=lambda character: (-counts[character], character))
    kept = by_count if vocab_size is None else by_count[: vocab_size - 2]
    # A BPE model without merges is the fastest way to one token a character.
    model = models.BPE(vocab=_numbered(sorted(kept)), merges=[], unk_token=UNKNOWN)
    return _finished(Tokenizer(model))


def _byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {END_OF_TEXT: 0} | {symbol: index for index, symbol in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def _numbered(entries: Iterable[str]) -> dict[str, int]:
    """A vocabulary that begins with the control token and the entry for what is unknown."""
    return {entry: index for index, entry in enumerate((END_OF_TEXT, UNKNOWN, *entries))}


def _finished(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def _sample(
    documents: Iterable[str],
    *,
    total_bytes: int | None,
    max_bytes: int,
    announce: Callable[[str], None],
) -> Iterator[str]:
    """The pieces of all documents, thinned evenly to about `max_bytes`."""
    pieces = (
        piece
        for document in documents
        for piece in cut_text(document, max_characters=_PIECE_CHARACTERS)
    )
    if total_bytes is not None and total_bytes > max_bytes:
        announce(f"tokenizer: trained on an even sample of {max_bytes:,} of {total_bytes:,} bytes ")
        # Whole-number arithmetic, so that the same pieces are taken everywhere.
        for index, piece in enumerate(pieces):
            if (index + 1) * max_bytes // total_bytes > index * max_bytes // total_bytes:
                yield piece
        return
    num_bytes = 0
    for piece in pieces:
        num_bytes += len(piece.encode("utf-8"))
        if num_bytes > max_bytes:
            announce(f"tokenizer: trained on the first {max_bytes:,} bytes ")
            return
        yield piece
