"""What looks at the inside of the network while a text is computed, and keeps what was asked for.

A text whose blocks were taken back is computed again: what was seen before is not seen twice.
Shape letters: L layers and H heads that are wanted, T tokens of a piece, Q tokens that are wanted,
S tokens of the text, C hidden width.
"""

import torch

from model.config import ModelConfig
from service.engine.executor import InspectedChunk
from service.engine.logprobs import NumericalError
from service.engine.questions import AttentionQuestion, AttentionValues, PooledVector
from service.engine.vector_bytes import packed

__all__ = ["AttentionObserver", "PoolingObserver"]

# What one step keeps of the network's inside for one text.
MAX_PIECE_BYTES = 32 * 1024 * 1024
_FLOAT_BYTES = 4
# Hidden states are added up as whole numbers of this size: their sum does not depend on the pieces
# in which they came. A final norm's values are thousands at most, so 2^20 tokens fit 63 bits.
_SUM_UNIT = 2.0**-30


class AttentionObserver:
    """Keeps the attention weights of some layers and heads, from a position on.

    Args:
        question: What is wanted.
        config: Of the network.

    Raises:
        ValueError: The network has no such layer or head, or the text no such position.
    """

    def __init__(self, question: AttentionQuestion, config: ModelConfig) -> None:
        for wanted, limit in (
            (question.layers, config.num_hidden_layers),
            (question.heads, config.num_attention_heads),
            ([question.start], len(question.token_ids)),
        ):
            if not all(0 <= number < limit for number in wanted):
                raise ValueError(f"{wanted} are not all from 0 to {limit - 1}")
        self.next_position = question.start
        self.attention_layers = question.layers
        num_tokens = len(question.token_ids)
        self.max_tokens = _max_tokens(config, len(question.layers), num_tokens=num_tokens)
        self._start = question.start
        self._heads = list(question.heads)
        shape = (len(question.layers), len(question.heads), num_tokens - question.start, num_tokens)
        self._values_LHQS = torch.zeros(shape)

    def note(self, start: int, inside: InspectedChunk) -> None:
        """See consecutive tokens, the first at ``start``, which is no later than the next.

        Raises:
            NumericalError: A weight is not finite.
        """
        new_LHTS = inside.attention[:, self._heads, self.next_position - start :]
        _check_finite(new_LHTS)
        num_new, num_keys = new_LHTS.shape[2:]
        first = self.next_position - self._start
        self._values_LHQS[:, :, first : first + num_new, :num_keys] = new_LHTS
        self.next_position += num_new

    def answer(self) -> AttentionValues:
        """What was asked for, once all tokens were seen."""
        return AttentionValues(packed(self._values_LHQS))


class PoolingObserver:
    """Takes the mean of the final norm's hidden states.

    Args:
        token_ids: The text.
        config: Of the network.
    """

    attention_layers = ()

    def __init__(self, token_ids: list[int], config: ModelConfig) -> None:
        self.next_position = 0
        self.max_tokens = _max_tokens(config, 0, num_tokens=len(token_ids))
        self._sum_C = torch.zeros(config.hidden_size, dtype=torch.long)

    def note(self, start: int, inside: InspectedChunk) -> None:
        """See consecutive tokens, the first at ``start``, which is no later than the next.

        Raises:
            NumericalError: A hidden state is not finite.
        """
        new_TC = inside.hidden_states[-1, self.next_position - start :]
        _check_finite(new_TC)
        self._sum_C += (new_TC.double() / _SUM_UNIT).round_().long().sum(0).cpu()
        self.next_position += new_TC.shape[0]

    def answer(self) -> PooledVector:
        """What was asked for, once all tokens were seen.

        Raises:
            NumericalError: The hidden states cancel each other out: there is no direction.
        """
        # The mean and the sum have one direction.
        sum_C = self._sum_C.double()
        length = float(sum_C.square().sum().sqrt())
        if not length > 0.0:
            raise NumericalError("the mean of the hidden states is zero")
        return PooledVector(packed(sum_C / length))


def _max_tokens(config: ModelConfig, num_layers: int, *, num_tokens: int) -> int:
    attention = num_layers * config.num_attention_heads * num_tokens
    hidden = (config.num_hidden_layers + 1) * config.hidden_size
    return max(1, MAX_PIECE_BYTES // (_FLOAT_BYTES * (attention + hidden)))


def _check_finite(values: torch.Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise NumericalError("the inside of the network is not finite")
