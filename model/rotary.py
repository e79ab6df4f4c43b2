"""Rotary positions as a ``config.json`` describes them: their base and how they are stretched.

Torch-free. Two generations of keys say the same: ``rope_theta`` and ``rope_scaling`` at the top
level, or both inside ``rope_parameters``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from model.config_values import ConfigError, integer, number, refusal

__all__ = ["DEFAULT_THETA", "Llama3Scaling", "read_rotary"]

DEFAULT_THETA = 10000.0
_PLAIN_KEYS = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})
_LLAMA3_KEYS = frozenset(
    {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama3Scaling:
    """Slow rotations are slowed down further, quick ones stay (Llama 3.1, Dubey et al. 2024).

    Attributes:
        factor: What the slowest frequencies are divided by; at least 1.
        low_freq_factor: A wave is slow when fewer than so many of it fit the original context.
        high_freq_factor: It is quick when more than so many do; above ``low_freq_factor``.
        original_max_position_embeddings: The original context, in tokens.

    Raises:
        ConfigError: A number is out of its range.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def __post_init__(self) -> None:
        # Written so that NaN fails too.
        if not 1.0 <= self.factor < math.inf:
            raise ConfigError(f"factor of rope_scaling must be at least 1, got {self.factor}")
        if not 0.0 < self.low_freq_factor < self.high_freq_factor < math.inf:
            raise ConfigError(
                "low_freq_factor of rope_scaling must be above 0 and below high_freq_factor "
                f"({self.high_freq_factor}), got {self.low_freq_factor}"
            )
        if self.original_max_position_embeddings < 1:
            raise ConfigError(
                "original_max_position_embeddings of rope_scaling must be at least 1, "
                f"got {self.original_max_position_embeddings}"
            )

    def divisors(self, frequencies: Sequence[float]) -> list[float]:
        """What each frequency (radians a token) is divided by, from 1 to ``factor``."""
        return [self._divisor(frequency) for frequency in frequencies]

    def _divisor(self, frequency: float) -> float:
        waves = self.original_max_position_embeddings * frequency / (2 * math.pi)
        if waves > self.high_freq_factor:
            return 1.0
        if waves < self.low_freq_factor:
            return self.factor
        share = (waves - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return 1.0 / ((1.0 - share) / self.factor + share)

    def to_dict(self) -> dict[str, object]:
        """The keys of ``rope_scaling``."""
        return {
            "rope_type": "llama3",
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "original_max_position_embeddings": self.original_max_position_embeddings,
        }


def read_rotary(values: Mapping[str, object]) -> tuple[float, Llama3Scaling | None]:
    """Base and stretching of a ``config.json``, in either generation of keys or both.

    Raises:
        ConfigError: Something else is asked for, or two keys contradict each other.
    """
    theta = number(values, "rope_theta", DEFAULT_THETA)
    given = {key: values[key] for key in ("rope_scaling", "rope_parameters") if values.get(key)}
    read = {key: _read_parameters(key, content, theta) for key, content in given.items()}
    if not read:
        for key in ("rope_scaling", "rope_parameters"):
            if values.get(key) not in (None, {}):
                raise ConfigError(f"config key {key} must be an object, got {values[key]!r}")
        return theta, None
    if len(set(read.values())) > 1:
        raise ConfigError(
            f"config key rope_scaling={given['rope_scaling']!r} contradicts "
            f"rope_parameters={given['rope_parameters']!r}"
        )
    key, (inside, scaling) = read.popitem()
    if "rope_theta" in values and inside != theta:
        raise ConfigError(f"config key rope_theta={theta} contradicts {key}={given[key]!r}")
    original = values.get("original_max_position_embeddings")
    if scaling and original not in (None, scaling.original_max_position_embeddings):
        raise ConfigError(
            f"config key original_max_position_embeddings={original!r} contradicts "
            f"{key}={given[key]!r}"
        )
    return inside, scaling


def _read_parameters(key: str, content: object, theta: float) -> tuple[float, Llama3Scaling | None]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"config key {key} must be an object, got {content!r}")
    named = cast("Mapping[str, object]", content)
    kind = named.get("rope_type", named.get("type", "default"))
    known = _PLAIN_KEYS | _LLAMA3_KEYS if kind == "llama3" else _PLAIN_KEYS
    # Every other key belongs to a way of stretching that is not implemented.
    if kind not in ("default", "llama3") or not named.keys() <= known:
        raise refusal(key, dict(named))
    if named.get("type", kind) != kind or named.get("partial_rotary_factor", 1) not in (1, None):
        raise refusal(key, dict(named))
    inside = number(named, "rope_theta", theta)
    if kind == "default":
        return inside, None
    return inside, Llama3Scaling(
        factor=number(named, "factor"),
        low_freq_factor=number(named, "low_freq_factor"),
        high_freq_factor=number(named, "high_freq_factor"),
        original_max_position_embeddings=integer(named, "original_max_position_embeddings"),
    )
