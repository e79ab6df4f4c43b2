"""Campaign 6: drawn tokens against exact probabilities, over many distributions and parameters.

`make campaign-sampler`. Rows of all cases are mixed in each batch, as in service. Excluded tokens
may never come; the counts of the others are held to the exact probabilities by chi-square, at a
level that all cases together miss by chance once in a thousand seeds. With --control the random
numbers are bent by 5 %, and the status is 3 when the same test notices it.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence as Places
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from campaigns.broken_builds.sampler_in_torch import draw_only_in_torch
from campaigns.cases.chi_square import goodness_of_fit
from campaigns.cases.exact_sampling import exact_probabilities
from campaigns.verdict import control_status
from service.engine import sampler
from service.engine.messages import Submit
from service.engine.random_numbers import random_words
from service.engine.request import Sequence
from service.engine.sampler import Choice, sample

__all__ = ["Case", "Verdict", "biased_random_words", "make_cases", "run_cases"]

SEED = 20261123
FALSE_ALARMS = 1e-3
ROWS_PER_BATCH = 512


@dataclass(frozen=True, slots=True)
class Case:
    """One distribution with one set of parameters.

    Attributes:
        output_ids: What was already written.
    """

    logits_V: npt.NDArray[np.float32]
    request: Submit
    output_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run found.

    Attributes:
        num_excluded: Draws of tokens that have no probability.
        smallest: Smallest probability of a case's counts.
        limit: Below which a case fails.
        num_failed: Cases below it.
    """

    num_cases: int
    num_draws: int
    num_excluded: int
    smallest: float
    limit: float
    num_failed: int

    @property
    def passed(self) -> bool:
        """Whether the draws follow the probabilities."""
        return self.num_failed == 0 and self.num_excluded == 0


SHAPES: dict[str, Callable[[np.random.Generator, int], npt.NDArray[np.float64]]] = {
    "normal": lambda rng, size: rng.normal(0.0, 2.0, size),
    "peaked": lambda rng, size: rng.normal(0.0, 1.0, size) + 6.0 * (np.arange(size) == size // 3),
    "flat": lambda rng, size: rng.normal(0.0, 0.01, size),
    "ties": lambda rng, size: rng.integers(-2, 3, size).astype(np.float64),
    "zipf": lambda rng, size: -1.1 * np.log1p(rng.permutation(size).astype(np.float64)),
}


def make_cases(num_cases: int, *, seed: int) -> list[Case]:
    """Every shape of distribution with parameters of all kinds, alone and together."""
    rng = np.random.default_rng(seed)
    draw = random.Random(seed)
    cases: list[Case] = []
    for number in range(num_cases):
        shape = list(SHAPES)[number % len(SHAPES)]
        size = draw.choice([2, 7, 31, 100])

        def maybe(value: float, off: float) -> float:
            return value if draw.random() < 0.4 else off

        tokens = list(range(size))
        request = Submit(
            request_id=number + 1,
            prompt_ids=draw.choices(tokens, k=4),
            max_tokens=1000,
            seed=draw.getrandbits(64),
            temperature=draw.choice([0.3, 0.8, 1.0, 1.0, 1.7, 5.0, 0.0]),
            top_k=draw.choice([0, 0, 1, 2, 5, size // 2, size - 1]),
            top_p=maybe(draw.uniform(0.05, 0.999), 1.0),
            min_p=maybe(draw.uniform(0.001, 0.6), 0.0),
            repetition_penalty=maybe(draw.uniform(0.5, 2.0), 1.0),
            presence_penalty=maybe(draw.uniform(-2.0, 2.0), 0.0),
            frequency_penalty=maybe(draw.uniform(-1.0, 1.0), 0.0),
            logit_bias=tuple(
                (token, draw.uniform(-4.0, 4.0)) for token in draw.sample(tokens, number % 3)
            ),
            min_tokens=draw.choice([0, 50]),
            stop_token_ids=(draw.choice(tokens),),
        )
        logits_V = SHAPES[shape](rng, size).astype(np.float32)
        cases.append(Case(logits_V, request, tuple(draw.choices(tokens, k=number % 5))))
    return cases


def run_cases(cases: list[Case], *, draws_per_case: int) -> Verdict:
    """Draw, count and judge."""
    counts = [np.zeros(case.logits_V.size, dtype=np.int64) for case in cases]
    for size in sorted({case.logits_V.size for case in cases}):
        members = [place for place, case in enumerate(cases) if case.logits_V.size == size]
        rows = [(place, draw) for draw in range(draws_per_case) for place in members]
        for first in range(0, len(rows), ROWS_PER_BATCH):
            batch = rows[first : first + ROWS_PER_BATCH]
            logits_RV = torch.from_numpy(np.stack([cases[place].logits_V for place, _ in batch]))
            chosen = sample(logits_RV, [_sequence(cases[place], draw) for place, draw in batch])
            for (place, _), choice in zip(batch, chosen, strict=True):
                assert isinstance(choice, Choice), choice
                counts[place][choice.token_id] += 1
    num_excluded, tails = 0, list[float]()
    for case, counts_V in zip(cases, counts, strict=True):
        exact_V = exact_probabilities(case.logits_V, case.request, case.output_ids)
        num_excluded += int(counts_V[exact_V == 0.0].sum())
        tails.append(goodness_of_fit(counts_V.tolist(), exact_V.tolist()))
    limit = FALSE_ALARMS / len(cases)
    return Verdict(
        num_cases=len(cases),
        num_draws=len(cases) * draws_per_case,
        num_excluded=num_excluded,
        smallest=min(tails),
        limit=limit,
        num_failed=sum(tail < limit for tail in tails),
    )


def biased_random_words(places: Places[tuple[int, int, int]]) -> list[int]:
    """The control: numbers that never reach the last twentieth."""
    return [int(word * 0.95) for word in random_words(places)]


def _sequence(case: Case, draw: int) -> Sequence:
    sequence = Sequence(case.request, choice=draw)
    sequence.token_ids += case.output_ids
    return sequence


def main() -> int:
    """Run the campaign; 1 when the sampler is wrong, 3 when the control was noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--draws", type=int, default=3000, help="of each case")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--control", action="store_true", help="bend the sampler on purpose")
    arguments = parser.parse_args()
    if arguments.control:
        draw_only_in_torch()
        sampler.random_words = biased_random_words
    began = time.monotonic()
    verdict = run_cases(
        make_cases(arguments.cases, seed=arguments.seed), draws_per_case=arguments.draws
    )
    print(
        f"seed {arguments.seed}: {verdict.num_cases} cases, {verdict.num_draws} draws in mixed "
        f"batches of {ROWS_PER_BATCH}, {time.monotonic() - began:.0f} s"
    )
    print(f"excluded tokens drawn: {verdict.num_excluded}")
    print(f"least likely case: {verdict.smallest:.2g}, limit {verdict.limit:.2g}")
    print(f"cases beyond the limit: {verdict.num_failed}")
    if arguments.control:
        failed = f"{verdict.num_failed} of {verdict.num_cases} cases beyond the limit"
        return control_status([failed] if verdict.num_failed else [])
    print("passed" if verdict.passed else "FAILED")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
