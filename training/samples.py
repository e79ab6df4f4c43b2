"""What a learner writes along the way: samples, and the surprise of one fixed sentence."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from model.generate import generate
from model.tokenizer import Tokenizer
from training.computation import Computation
from training.dataset import TokenFiles
from training.evaluate import surprise_bits
from training.plan import Plan
from training.progress import Progress

__all__ = ["Samples"]

_TEMPERATURE = 0.8
_TOP_K = 50
_SURPRISE_TOKENS = 32
_PROMPT_TOKENS = 12


class Samples:
    """Writes samples and surprises into a run's log and onto its screen.

    Args:
        computation: Its model writes.
        tokenizer: Between text and ids.
        files: The first held-out tokens are the fixed sentence.
        prompt: What samples continue; empty takes the held-out text's first words, since a text
            of few documents teaches little about how one begins.
        max_tokens: Length of a sample; 0 writes none.
        seed: Of the samples, so that they differ by the model alone.
        progress: Where they go.
    """

    def __init__(
        self,
        *,
        computation: Computation,
        tokenizer: Tokenizer,
        files: TokenFiles,
        prompt: str,
        max_tokens: int,
        seed: int,
        progress: Progress,
    ) -> None:
        end = tokenizer.end_of_text_id
        assert end is not None, "our tokenizers have an end-of-text token"
        self._end_of_text_id = end
        self._computation = computation
        self._tokenizer = tokenizer
        self._prompt = prompt or opening_words(files.held_out, tokenizer)
        self._max_tokens = max_tokens
        self._seed = seed
        self._progress = progress
        sentence = [int(token) for token in files.held_out[:_SURPRISE_TOKENS]]
        limit = min(len(sentence), computation.model.config.max_position_embeddings)
        self._sentence = sentence[:limit]

    @staticmethod
    def of(plan: Plan, computation: Computation, progress: Progress) -> "Samples":
        """Those that a run's settings ask for."""
        return Samples(
            computation=computation,
            tokenizer=plan.prepared.tokenizer,
            files=plan.prepared.files,
            prompt=plan.config.run.sample_prompt,
            max_tokens=plan.config.run.sample_tokens,
            seed=plan.config.schedule.seed,
            progress=progress,
        )

    def show(self, step: int) -> None:
        """Write a sample and the sentence's surprise; the model must be in evaluation mode."""
        self._write(step, seeds=range(self._seed, self._seed + 1))
        if self._sentence:
            bits = surprise_bits(
                self._computation.logits,
                self._sentence,
                first_id=self._end_of_text_id,
                device=self._computation.device,
            )
            self._progress.event(
                "surprise",
                step=step,
                text=self._tokenizer.decode(self._sentence),
                tokens=[self._tokenizer.decode([token]) for token in self._sentence],
                bits=bits,
            )

    def write_more(self, step: int, *, num_samples: int) -> None:
        """Write samples of the seeds after the one that ``show`` uses."""
        self._write(step, seeds=range(self._seed + 1, self._seed + 1 + num_samples))

    def _write(self, step: int, *, seeds: Iterable[int]) -> None:
        """One sample a seed, each up to its end or its length."""
        if self._max_tokens == 0:
            return
        ids = [self._end_of_text_id, *self._tokenizer.encode(self._prompt)]
        for seed in seeds:
            with _one_thread():
                written = list(
                    generate(
                        self._computation.model,
                        ids,
                        max_tokens=self._max_tokens,
                        temperature=_TEMPERATURE,
                        top_k=_TOP_K,
                        generator=torch.Generator().manual_seed(seed),
                        end_token_ids=(self._end_of_text_id,),
                    )
                )
            text_ids = [token for token in written if token != self._end_of_text_id]
            self._progress.event(
                "sample",
                step=step,
                prompt=self._prompt,
                text=self._tokenizer.decode(text_ids),
                temperature=_TEMPERATURE,
                top_k=_TOP_K,
                seed=seed,
            )


@contextmanager
def _one_thread() -> Generator[None]:
    """Compute on one thread: a token at a time is too little work to share.

    On a busy machine, threads that wait for each other cost many times what they bring.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def opening_words(tokens: NDArray[np.integer], tokenizer: Tokenizer) -> str:
    """The first few words of a text, cut between words where it has any."""
    text = tokenizer.decode([int(token) for token in tokens[:_PROMPT_TOKENS]]).lstrip()
    words, space, _ = text.rpartition(" ")
    return (words if space else text).removesuffix("\ufffd")
