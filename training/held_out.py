"""The held-out text and the time that measuring on it takes."""

import time

from training.computation import Computation
from training.dataset import TokenFiles
from training.evaluate import TextScore, score_tokens

__all__ = ["HeldOut"]


class HeldOut:
    """Scores a model in training on the held-out text.

    Args:
        computation: Computes the logits of its model.
        files: The tokenised corpus.
        context_length: Tokens of a window.
        first_id: What the first token follows: end-of-text.
        max_tokens: About as many are scored along the way.
    """

    def __init__(
        self,
        computation: Computation,
        files: TokenFiles,
        *,
        context_length: int,
        first_id: int,
        max_tokens: int,
    ) -> None:
        self._computation = computation
        self._files = files
        self._context_length = context_length
        self._first_id = first_id
        self._max_tokens = max_tokens
        self.seconds = 0.0

    @property
    def seconds_of_all(self) -> float:
        """Estimated time to score all of the text, from that of the last part."""
        return self.seconds * max(1.0, self._files.held_out.size / self._max_tokens)

    def score_part(self) -> TextScore:
        """Score tokens spread evenly over the text, for a curve."""
        began = time.monotonic()
        score = self._score(self._max_tokens)
        self.seconds = time.monotonic() - began
        return score

    def score_all(self) -> TextScore:
        """Score all of the text."""
        return self._score(0)

    def _score(self, max_tokens: int) -> TextScore:
        self._computation.model.eval()
        return score_tokens(
            self._computation.logits,
            self._files.held_out,
            num_bytes=self._files.held_out_bytes,
            context_length=self._context_length,
            first_id=self._first_id,
            device=self._computation.device,
            max_tokens=max_tokens,
        )
