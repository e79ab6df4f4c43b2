"""The engine process of a server that is broken on purpose; `altered_server.py` says how."""

import os
import sys
from collections.abc import Sequence

from campaigns.broken_builds.sampler_in_torch import draw_only_in_torch
from service.engine import sampler
from service.engine.block_allocator import BlockAllocator, Prefix
from service.engine_link import engine_start

# Not imported from altered_server, which is a front and runs where no engine does.
FAULT = os.environ["NEXTWORD_CAMPAIGN_ENGINE_FAULT"]


def _company_changes_tokens() -> None:
    """A token's random number depends on how many are drawn beside it."""
    draw = sampler.random_words

    def altered(places: Sequence[tuple[int, int, int]]) -> list[int]:
        return [word ^ ((len(places) & 3) << 30) for word in draw(places)]

    draw_only_in_torch()
    sampler.random_words = altered


def _prefixes_are_confused() -> None:
    """Every full block is taken for every other: some other text's keys and values are reused."""
    extend = BlockAllocator.extend_prefix

    def altered(
        self: BlockAllocator, parent: Prefix | None, token_ids: Sequence[int], *, salt: bytes
    ) -> Prefix:
        return extend(self, None, [0] * len(token_ids), salt=salt)

    BlockAllocator.extend_prefix = altered


if __name__ == "__main__":
    {"company": _company_changes_tokens, "prefix": _prefixes_are_confused}[FAULT]()
    sys.exit(engine_start.main())
