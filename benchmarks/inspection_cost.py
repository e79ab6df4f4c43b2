"""What inspections cost those who stream: the time between tokens of 8 streams, with and without.

    python benchmarks/inspection_cost.py [--model FOLDER] [--rounds 6] [--seconds 10]

One server answers the streams all the time. Spells without inspections and spells with them take
turns, so that what disturbs the machine disturbs both; in the latter, callers ask for inspections
one after another: while text is made, of a given text, attention, neighbours, choices made again,
scores, and text and scores of the n-gram model, if the version has one.
"""

import argparse
import asyncio
import base64
import itertools
import statistics
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

# The script is run by its path; the campaigns stand beside its folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns.live.server_process import running_server

NUM_STREAMS = 8
GOAL = 1.2
PROMPT = "Once upon a time there was a king who had three sons, and when he grew old he said"
SETTLING_SECONDS = 1.0


@dataclass
class Spell:
    """A stretch of time with or without inspections."""

    is_inspected: bool
    gaps: list[float] = field(default_factory=list[float])

    @property
    def mean(self) -> float:
        """Seconds between two tokens of a stream."""
        return statistics.fmean(self.gaps)


class Measurement:
    """The callers of one server.

    Attributes:
        spells: In their order.
        answered: Inspections by kind.
    """

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._spell: Spell | None = None
        self._may_inspect = asyncio.Event()
        self._vocabulary = 0
        self._ngram: str | None = None
        self._num_asked = 0
        self._is_quiet = asyncio.Event()
        self.spells: list[Spell] = []
        self.answered: Counter[str] = Counter()

    async def run(self, *, rounds: int, seconds: float) -> None:
        """Let the spells take turns."""
        shown = await self._post("/v1/inspect", {"text": PROMPT, "inspect": {"logits": True}})
        logits = shown.json()["inspections"][0]["logits"]
        self._vocabulary = len(base64.b64decode(logits)) // 4
        models = (await self._client.get("/v1/models")).raise_for_status().json()["data"]
        ngrams = (model["id"] for model in models if model["kind"] == "ngram")
        self._ngram = next(ngrams, None)
        callers = [self._stream(number) for number in range(NUM_STREAMS)]
        callers += [self._inspect(kind, ask) for kind, ask in self._kinds().items()]
        running = [asyncio.create_task(caller) for caller in callers]
        try:
            for is_inspected in itertools.islice(itertools.cycle([False, True]), 2 * rounds + 1):
                await self._one_spell(is_inspected, seconds, running)
        finally:
            for task in running:
                task.cancel()
            for task in running:
                with suppress(asyncio.CancelledError):
                    await task

    async def _one_spell(
        self, is_inspected: bool, seconds: float, running: Sequence[asyncio.Task[None]]
    ) -> None:
        if is_inspected:
            self._may_inspect.set()
        else:
            self._may_inspect.clear()
        self._spell = None
        if not is_inspected and self._num_asked:
            # What is under way belongs to neither of the two.
            await self._is_quiet.wait()
        await asyncio.sleep(SETTLING_SECONDS)
        self._spell = Spell(is_inspected)
        await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            if task.done():
                task.result()
        self.spells.append(self._spell)

    async def _stream(self, number: int) -> None:
        for seed in itertools.count(1000 * number):
            body = {
                "prompt": PROMPT,
                "max_tokens": 300,
                "seed": seed,
                "ignore_eos": True,
                "stream": True,
            }
            last: float | None = None
            async with self._client.stream("POST", "/v1/generate", json=body) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    now = time.perf_counter()
                    if last is not None and self._spell is not None:
                        self._spell.gaps.append(now - last)
                    last = now

    async def _inspect(self, kind: str, ask: Callable[[int], Awaitable[object]]) -> None:
        for number in itertools.count():
            await self._may_inspect.wait()
            self._num_asked += 1
            self._is_quiet.clear()
            await ask(number)
            self._num_asked -= 1
            if self._num_asked == 0:
                self._is_quiet.set()
            self.answered[kind] += 1

    def _kinds(self) -> dict[str, Callable[[int], Awaitable[object]]]:
        flat = base64.b64encode(struct.pack(f"<{self._vocabulary}f", *[0.0] * self._vocabulary))
        text = " ".join([PROMPT] * 4)

        def made(number: int) -> Awaitable[object]:
            inspect = {"candidates": 50}
            body = {"prompt": PROMPT, "max_tokens": 40, "seed": number, "inspect": inspect}
            return self._post("/v1/generate", body)

        def given(number: int) -> Awaitable[object]:
            # Another beginning each time, so that nothing of it is in the cache.
            return self._post("/v1/inspect", {"text": f"{number} {text}"})

        def attention(number: int) -> Awaitable[object]:
            body = {"text": f"{number} {PROMPT}", "layers": [0, 1]}
            return self._post("/v1/attention", body)

        def neighbours(number: int) -> Awaitable[object]:
            return self._post("/v1/embedding", {"id": number % self._vocabulary, "neighbours": 50})

        def again(number: int) -> Awaitable[object]:
            parameters = [{"seed": number + each, "top_p": 0.9} for each in range(16)]
            body = {"logits": flat.decode(), "ids": [1, 2, 3], "parameters": parameters}
            return self._post("/v1/resample", body)

        def score(number: int) -> Awaitable[object]:
            return self._post("/v1/score", {"text": f"{number} {text}"})

        def ngram_made(number: int) -> Awaitable[object]:
            inspect = {"candidates": 50}
            body = {"prompt": PROMPT, "max_tokens": 40, "seed": number, "inspect": inspect}
            return self._post("/v1/generate", body | {"model": self._ngram})

        def ngram_score(number: int) -> Awaitable[object]:
            return self._post("/v1/score", {"text": f"{number} {text}", "model": self._ngram})

        kinds: dict[str, Callable[[int], Awaitable[object]]] = {
            "made": made,
            "given text": given,
            "attention": attention,
            "neighbours": neighbours,
            "made again": again,
            "score": score,
        }
        if self._ngram is not None:
            kinds |= {"made by the n-gram": ngram_made, "score of the n-gram": ngram_score}
        return kinds

    async def _post(self, path: str, body: object) -> httpx2.Response:
        answer = await self._client.post(path, json=body)
        answer.raise_for_status()
        return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="artifacts/fairytales/1")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each spell")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    flags = ("--model", options.model, "--threads", str(options.threads), "--max-running", "12")
    with running_server(*flags) as server:
        wait_ready(server.rest)
        measurement = asyncio.run(measure(server.rest, options.rounds, options.seconds))
    ratio = report(measurement)
    return 0 if ratio <= GOAL else 1


def wait_ready(url: str) -> None:
    """Poll until the server takes requests."""
    for _ in range(1200):
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    sys.exit(f"{url} was not ready within two minutes")


async def measure(url: str, rounds: int, seconds: float) -> Measurement:
    """Run the callers of a server."""
    async with httpx2.AsyncClient(base_url=url, timeout=300) as client:
        measurement = Measurement(client)
        await measurement.run(rounds=rounds, seconds=seconds)
    return measurement


def report(measurement: Measurement) -> float:
    """Print what was measured; the median of the rounds' ratios."""
    spells = measurement.spells
    ratios = [
        2 * spell.mean / (before.mean + after.mean)
        for before, spell, after in zip(spells, spells[1:], spells[2:], strict=False)
        if spell.is_inspected
    ]
    for is_inspected, label in ((False, "without"), (True, "with")):
        gaps = sorted(
            gap for spell in spells if spell.is_inspected is is_inspected for gap in spell.gaps
        )
        shares = ", ".join(
            f"p{share} {1000 * gaps[len(gaps) * share // 100]:.1f}" for share in (50, 95, 99)
        )
        mean = 1000 * statistics.fmean(gaps)
        print(f"{label} inspections: mean {mean:.1f} ms, {shares} ms between {len(gaps)} tokens")
    answered = ", ".join(f"{kind} {count}" for kind, count in measurement.answered.items())
    print(f"inspections answered: {answered}")
    ratio = statistics.median(ratios)
    each = " ".join(f"{value:.3f}" for value in ratios)
    print(f"mean time between tokens, with over without: {ratio:.3f} (rounds: {each})")
    print(f"goal: at most {GOAL}: {'held' if ratio <= GOAL else 'MISSED'}")
    return ratio


if __name__ == "__main__":
    sys.exit(main())
