"""Campaign 7: streamed text against the decoding of all ids at once, and stop strings.

`make campaign-text`. Random id sequences over whole vocabularies arrive in random chunks. Their
pieces together must be the full decoding, each token delivered once, no half character and nothing
held back longer than a stop string needs; with stop strings the text must end where reading the
full decoding character by character says, streamed or not. With --control each token is decoded
by itself and stop strings are looked for in whole chunks; the status is 3 when that is noticed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from campaigns.cases.text_reference import Delivered, stopped_text, whole_characters
from campaigns.cases.vocabularies import vocabularies
from campaigns.verdict import control_status
from model.tokenizer import Tokenizer
from service.detokenizer import DecodedPiece, Detokenizer

__all__ = ["CarelessDetokenizer", "Tally", "check_vocabulary"]

SEED = 20261123
NUM_SEQUENCES = 20_000
MAX_TOKENS = 60
MAX_SHOWN_FAULTS = 3


class TextSide(Protocol):
    """What is tested: a detokenizer of one continuation."""

    def push(self, token_ids: Sequence[int]) -> DecodedPiece:
        """Take tokens; give what can be delivered."""
        ...

    def finish(self) -> DecodedPiece:
        """Give the rest."""
        ...


MakeTextSide = Callable[[Tokenizer, tuple[str, ...], int], TextSide]


def careful(tokenizer: Tokenizer, stop: tuple[str, ...], min_tokens: int) -> TextSide:
    """The one that serves."""
    return Detokenizer(tokenizer.token_bytes, stop=stop, min_tokens=min_tokens)


class CarelessDetokenizer:
    """The control: every token by itself, stop strings where a chunk happens to hold them."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...], min_tokens: int) -> None:
        del min_tokens
        self._tokenizer = tokenizer
        self._stop = stop

    def push(self, token_ids: Sequence[int]) -> DecodedPiece:
        """Decode each token."""
        text = "".join(
            self._tokenizer.decode([token_id], at_text_start=False) for token_id in token_ids
        )
        places = [text.index(each) for each in self._stop if each in text]
        if places:
            return DecodedPiece(text[: min(places)], tuple(token_ids), is_stopped=True)
        return DecodedPiece(text, tuple(token_ids))

    def finish(self) -> DecodedPiece:
        """Nothing was held."""
        return DecodedPiece("", ())


@dataclass(slots=True)
class Tally:
    """What a run came by.

    Attributes:
        num_split_characters: Chunks that ended inside a character.
        num_stopped: Texts that a stop string ended.
        num_stops_across: Of those, stop strings of several tokens.
        num_stops_at_end: Of those, found only when the tokens had ended.
    """

    num_sequences: int = 0
    num_tokens: int = 0
    num_ids_seen: int = 0
    num_split_characters: int = 0
    num_stopped: int = 0
    num_stops_across: int = 0
    num_stops_at_end: int = 0
    num_faults: int = 0
    faults: list[str] = field(default_factory=list[str])

    def note_fault(self, fault: str) -> None:
        """One check failed."""
        self.num_faults += 1
        if len(self.faults) < MAX_SHOWN_FAULTS:
            self.faults.append(fault)


def check_vocabulary(
    tokenizer: Tokenizer, num_sequences: int, *, rng: random.Random, make: MakeTextSide = careful
) -> Tally:
    """Run sequences over one vocabulary; every id of it comes, as far as they suffice."""
    tally = Tally()
    seen: set[int] = set()
    ids_in_turn = _shuffled_ids(tokenizer.vocab_size, rng)
    for _ in range(num_sequences):
        ids = [next(ids_in_turn) for _ in range(rng.randint(1, MAX_TOKENS))]
        seen.update(ids)
        chunks = _random_chunks(ids, rng)
        tally.num_sequences += 1
        tally.num_tokens += len(ids)
        _check_plain(tokenizer, ids, chunks, tally, make)
        _check_stops(tokenizer, ids, chunks, tally, make, rng)
    tally.num_ids_seen = len(seen)
    return tally


def _check_plain(
    tokenizer: Tokenizer,
    ids: list[int],
    chunks: list[list[int]],
    tally: Tally,
    make: MakeTextSide,
) -> None:
    """H73, H74."""
    full = tokenizer.decode(ids, at_text_start=False)
    side, text, num_taken = make(tokenizer, (), 0), "", 0
    for chunk in chunks:
        num_taken += len(chunk)
        text += side.push(chunk).text
        data = b"".join(map(tokenizer.token_bytes, ids[:num_taken]))
        expected = whole_characters(data)
        tally.num_split_characters += expected != data.decode("utf-8", "replace")
        if text != expected or not full.startswith(text):
            tally.note_fault(f"{ids}: after {num_taken} tokens {text!r} of {full!r}")
            return
    delivered = _run(make(tokenizer, (), 0), chunks)
    if delivered != Delivered(full, ids, is_stopped=False):
        tally.note_fault(f"{ids} in {chunks}: {delivered} instead of {full!r}")


def _check_stops(
    tokenizer: Tokenizer,
    ids: list[int],
    chunks: list[list[int]],
    tally: Tally,
    make: MakeTextSide,
    rng: random.Random,
) -> None:
    """H75."""
    full = tokenizer.decode(ids, at_text_start=False)
    stop = _random_stops(full, rng)
    min_tokens = rng.choice((0, 0, rng.randint(0, len(ids))))
    expected = stopped_text(tokenizer, ids, stop, min_tokens)
    streamed = _run(make(tokenizer, stop, min_tokens), chunks)
    at_once = _run(make(tokenizer, stop, min_tokens), [ids])
    if not streamed == at_once == expected:
        tally.note_fault(
            f"{ids} in {chunks} until {stop} from {min_tokens} tokens on: {streamed}, at once "
            f"{at_once}, expected {expected}"
        )
    if min_tokens == 0 and any(each in streamed.text for each in stop):
        tally.note_fault(f"{ids} in {chunks}: {stop} leaked into {streamed.text!r}")
    if expected.is_stopped:
        tally.num_stopped += 1
        num_before = len(expected.token_ids)
        one = tokenizer.decode(ids[num_before : num_before + 1], at_text_start=False)
        tally.num_stops_across += not any(each in one for each in stop)
        before_end = make(tokenizer, stop, min_tokens).push(ids)
        tally.num_stops_at_end += not before_end.is_stopped


def _run(side: TextSide, chunks: list[list[int]]) -> Delivered:
    text, token_ids = "", list[int]()
    for chunk in chunks:
        piece = side.push(chunk)
        text, token_ids = text + piece.text, [*token_ids, *piece.token_ids]
        if piece.is_stopped:
            return Delivered(text, token_ids, is_stopped=True)
    piece = side.finish()
    return Delivered(text + piece.text, [*token_ids, *piece.token_ids], piece.is_stopped)


def _shuffled_ids(vocabulary_size: int, rng: random.Random) -> Iterator[int]:
    while True:
        yield from rng.sample(range(vocabulary_size), vocabulary_size)


def _random_chunks(ids: list[int], rng: random.Random) -> list[list[int]]:
    most = rng.choice((1, 2, 5, len(ids)))
    chunks: list[list[int]] = []
    start = 0
    while start < len(ids):
        size = rng.randint(1, most)
        chunks.append(ids[start : start + size])
        start += size
    return chunks


def _random_stops(full: str, rng: random.Random) -> tuple[str, ...]:
    """Parts of the text, some with a wrong last character, some that overlap themselves."""
    stops: list[str] = []
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(full) + 1)
        part = full[start : start + rng.choice((1, 2, 3, 8, 40))] or "ab"
        stops.append(rng.choice((part, part, part[:-1] + "\u2603", part[:1] * 3)))
    return tuple(stops)


def main() -> int:
    """Run the command; 1 when a check failed, 3 when the control was noticed."""
    parser = argparse.ArgumentParser(description="Streamed text against whole decodings.")
    parser.add_argument("--sequences", type=int, default=NUM_SEQUENCES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--control", action="store_true", help="test a careless detokenizer")
    arguments = parser.parse_args()
    make: MakeTextSide = CarelessDetokenizer if arguments.control else careful
    rng = random.Random(arguments.seed)
    print(f"seed {arguments.seed}, {'careless' if arguments.control else 'our'} detokenizer")
    began, tallies = time.perf_counter(), list[Tally]()
    with tempfile.TemporaryDirectory() as folder:
        found = list(vocabularies(Path(folder)))
        here = [(name, tokenizer) for name, tokenizer in found if tokenizer is not None]
        for name in (name for name, tokenizer in found if tokenizer is None):
            print(f"{name}: not on this machine")
        for name, tokenizer in here:
            num_sequences = -(-arguments.sequences // len(here))
            if arguments.sequences >= NUM_SEQUENCES:
                # Large vocabularies get more, so that each of their ids comes.
                num_sequences = max(num_sequences, tokenizer.vocab_size * 2 // MAX_TOKENS + 100)
            tally = check_vocabulary(tokenizer, num_sequences, rng=rng, make=make)
            tallies.append(tally)
            print(
                f"{name}: {tally.num_sequences} sequences, {tally.num_tokens} tokens, "
                f"{tally.num_ids_seen} of {tokenizer.vocab_size} ids, "
                f"{tally.num_split_characters} chunks ended inside a character, "
                f"{tally.num_stopped} texts stopped ({tally.num_stops_across} by several tokens, "
                f"{tally.num_stops_at_end} at the very end), {tally.num_faults} faults"
            )
            for fault in tally.faults:
                print(f"  {fault[:600]}")
    total = sum(tally.num_sequences for tally in tallies)
    num_faults = sum(tally.num_faults for tally in tallies)
    taken = all(
        sum(getattr(tally, name) for tally in tallies) > 0
        for name in ("num_split_characters", "num_stops_across", "num_stops_at_end")
    )
    passed = num_faults == 0 and taken
    print(f"{total} sequences in {time.perf_counter() - began:.0f} s: {num_faults} faults")
    if arguments.control:
        return control_status([fault for tally in tallies for fault in tally.faults])
    print("passed" if passed else "FAILED" if taken else "FAILED: not every path was taken")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
