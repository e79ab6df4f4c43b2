"""Tokens drawn by the compiled kernels: the same ids as the sampler in torch, without its overhead.

For logits in f32 on a CPU, where the kernels were built. How a sequence draws is told to them once;
each step adds where in its text it stands. Whatever they do not take is the sampler's in torch.
"""

import ctypes
import logging
from array import array
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from service.engine.cpu.kernel_library import LibraryError, load_library
from service.engine.request import Sequence as TokenSequence
from service.engine.weight_stages import GREEDY_BELOW_TEMPERATURE

__all__ = [
    "BAD_CHANGED",
    "BAD_LOGITS",
    "NOT_DRAWN",
    "NativeSettings",
    "draw_natively",
    "native_settings",
]

_logger = logging.getLogger(__name__)

# In place of an id: the row was not asked for; the model's logits define no token; what penalties,
# bias and bans left of them does not.
NOT_DRAWN = -1
BAD_LOGITS = -2
BAD_CHANGED = -3
_LARGEST = 2**31 - 1


class _Settings(ctypes.Structure):
    """`nextword_draw_settings`."""

    _fields_ = (
        ("seed", ctypes.c_uint64),
        ("top_p", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("frequency", ctypes.c_double),
        ("text", ctypes.c_void_p),
        ("biased_ids", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
        ("ending_ids", ctypes.c_void_p),
        ("num_biased", ctypes.c_int32),
        ("num_ending", ctypes.c_int32),
        ("num_prompt_tokens", ctypes.c_int32),
        ("min_tokens", ctypes.c_int32),
        ("sample", ctypes.c_uint32),
        ("top_k", ctypes.c_int32),
        ("temperature", ctypes.c_float),
        ("repetition", ctypes.c_float),
        ("presence", ctypes.c_float),
        ("is_penalised", ctypes.c_int32),
    )


class NativeSettings:
    """How one sequence draws, in memory that the kernels read.

    Args:
        sequence: Its request stays what it is, and its text only grows.

    Attributes:
        address: Of the structure, as long as this object lives; 0 where the kernels cannot take it.
    """

    __slots__ = ("_arrays", "_num_known", "_settings", "_text", "address")

    def __init__(self, sequence: TokenSequence) -> None:
        self.address = 0
        self._text: array[int] | None = None
        self._num_known = 0
        if sequence.traces_output:
            # How its tokens are chosen is told by the functions that choose them.
            return
        try:
            self._fill(sequence)
        except OverflowError:
            # Numbers that the front refuses: the sampler in torch says what is wrong with them.
            return
        self.address = ctypes.addressof(self._settings)

    def note_text(self, token_ids: list[int]) -> None:
        """Take in what has come to the sequence's text, where drawing depends on it."""
        if self._text is not None:
            for place in range(self._num_known, len(token_ids)):
                self._text[place] = token_ids[place]
            self._num_known = len(token_ids)

    def _fill(self, sequence: TokenSequence) -> None:
        request = sequence.request
        if not 0 <= request.seed < 1 << 64:
            # A structure would take its last bits without a word.
            raise OverflowError
        bias = dict(request.logit_bias)
        biased_ids, biases = array("i", bias), array("f", bias.values())
        ending_ids = array("i", request.end_token_ids + request.stop_token_ids)
        self._arrays = (biased_ids, biases, ending_ids)
        is_penalised = (
            request.repetition_penalty != 1.0
            or request.presence_penalty != 0.0
            or request.frequency_penalty != 0.0
        )
        if is_penalised:
            # As long as it can become, so that it stays where it is.
            longest = max(sequence.num_prompt_tokens + request.max_tokens, len(sequence.token_ids))
            self._text = array("i", [0]) * longest
        is_greedy = request.temperature < GREEDY_BELOW_TEMPERATURE or request.top_k == 1
        self._settings = _Settings(
            seed=request.seed,
            top_p=request.top_p,
            min_p=request.min_p,
            frequency=request.frequency_penalty,
            text=None if self._text is None else _address(self._text),
            biased_ids=_address(biased_ids),
            biases=_address(biases),
            ending_ids=_address(ending_ids),
            num_biased=len(biased_ids),
            num_ending=len(ending_ids),
            num_prompt_tokens=sequence.num_prompt_tokens,
            min_tokens=min(request.min_tokens, _LARGEST),
            sample=sequence.choice,
            top_k=1 if is_greedy else min(max(request.top_k, 0), _LARGEST),
            temperature=request.temperature,
            repetition=request.repetition_penalty,
            presence=request.presence_penalty,
            is_penalised=is_penalised,
        )


def draw_natively(
    logits_RV: Tensor, sequences: Sequence[TokenSequence], *, instruction_set: str | None = None
) -> list[int] | None:
    """The next token of each sequence; None where the kernels are not there or not for this.

    Args:
        logits_RV: Raw logits; not changed.
        sequences: One for each row.
        instruction_set: One of those that this processor has; None is the best.

    Returns:
        Ids, BAD_LOGITS, BAD_CHANGED, or NOT_DRAWN for sequences that are the sampler's in torch.
    """
    draw = _draw_function()
    if draw is None or not _is_readable(logits_RV):
        return None
    natives = [each.native_settings or native_settings(each) for each in sequences]
    rows = array("i", range(len(sequences)))
    taken = rows
    if not all(native.address for native in natives):
        taken = array("i", [row for row in rows if natives[row].address])
    for row in taken:
        natives[row].note_text(sequences[row].token_ids)
    addresses = array("Q", [natives[row].address for row in taken])
    positions = array("q", [len(sequences[row].token_ids) for row in taken])
    drawn = array("i", bytes(4 * len(taken)))
    status: int = draw(
        logits_RV.data_ptr(),
        logits_RV.stride(0),
        logits_RV.shape[1],
        len(taken),
        _address(taken),
        _address(addresses),
        _address(positions),
        _address(drawn),
        None if instruction_set is None else instruction_set.encode(),
    )
    if status != 0:
        # One row at fault, as by an id beyond the vocabulary: which one is found out elsewhere.
        return None
    if taken is rows:
        return drawn.tolist()
    everything = [NOT_DRAWN] * len(sequences)
    for row, token_id in zip(taken, drawn, strict=True):
        everything[row] = token_id
    return everything


def native_settings(sequence: TokenSequence) -> NativeSettings:
    """How a sequence draws; the same object each time."""
    if sequence.native_settings is None:
        sequence.native_settings = NativeSettings(sequence)
    return sequence.native_settings


def _is_readable(logits_RV: Tensor) -> bool:
    return (
        logits_RV.device.type == "cpu"
        and logits_RV.dtype is torch.float32
        and logits_RV.stride(1) == 1
        and logits_RV.stride(0) >= logits_RV.shape[1]
    )


def _address(numbers: "array[int] | array[float]") -> int:
    return numbers.buffer_info()[0]


@cache
def _draw_function() -> Callable[..., int] | None:
    try:
        function = load_library().nextword_draw
    except LibraryError as error:
        _logger.info("tokens are drawn by PyTorch's operations: there are no %s", error)
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    function.argtypes = (
        *(pointer, ctypes.c_int64, integer, integer),
        *(pointer, pointer, pointer, pointer, ctypes.c_char_p),
    )
    function.restype = integer
    return function
