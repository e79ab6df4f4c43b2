"""What a request must keep to be of use to a person: bounds on its times, and for how many."""

import re
from dataclasses import asdict, dataclass

from nextword.bench.distribution import percentile
from nextword.bench.plan_error import PlanError
from nextword.bench.records import RequestRecord

__all__ = ["DEFAULT_SHARE", "Objective", "parse_objective"]

DEFAULT_SHARE = 0.99
_FORM = "--objective looks like ttft=300ms,itl=50ms,share=99%"
_TERM = re.compile(r"(\w+)=([0-9]+(?:\.[0-9]+)?)(us|ms|s|%)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_FIELDS = {
    "ttft": "first_token_seconds",
    "itl": "between_tokens_seconds",
    "tpot": "mean_between_tokens_seconds",
    "e2e": "request_seconds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Bounds in seconds; None where there is none.

    Attributes:
        first_token_seconds: From when a request was meant to be sent to its first token (ttft).
        between_tokens_seconds: 99 % of the request's own waits for a message with tokens (itl):
            tokens that come together do not share it, since a reader waits for all of it.
        mean_between_tokens_seconds: The mean time for each token after the first (tpot).
        request_seconds: The whole request (e2e).
        share: Which part of the requests must keep all of it.
    """

    first_token_seconds: float | None = None
    between_tokens_seconds: float | None = None
    mean_between_tokens_seconds: float | None = None
    request_seconds: float | None = None
    share: float = DEFAULT_SHARE

    def is_met(self, record: RequestRecord) -> bool:
        """Whether a request that has been read was good, and fast enough."""
        if not record.is_ok or record.ended_at is None:
            return False
        gaps, pauses = record.gaps_seconds, sorted(record.pauses_seconds)
        return (
            _within(record.first_token_seconds, self.first_token_seconds)
            and _within(percentile(pauses, 0.99) if pauses else None, self.between_tokens_seconds)
            and _within(sum(gaps) / len(gaps) if gaps else None, self.mean_between_tokens_seconds)
            and _within(record.ended_at - record.started_at, self.request_seconds)
        )

    def is_surely_missed(self, record: RequestRecord, now: float) -> bool:
        """Whether a request can no longer keep it: seen without reading its stream."""
        if record.error_code is not None:
            return True
        first_at = record.pieces[0][0] if record.pieces else now
        if not record.is_read and not _within(
            first_at - record.started_at, self.first_token_seconds
        ):
            return True
        return not _within((record.ended_at or now) - record.started_at, self.request_seconds)

    @property
    def label(self) -> str:
        """All of it in one line."""
        values = asdict(self)
        terms = [
            f"{name} {_duration(values[field])}"
            for name, field in _FIELDS.items()
            if values[field] is not None
        ]
        return f"{', '.join(terms)} for {self.share:.4g} of requests".replace(
            f"{self.share:.4g}", f"{100 * self.share:.4g} %"
        )


def parse_objective(text: str) -> Objective:
    """Read bounds such as `ttft=300ms,itl=50ms`.

    Raises:
        PlanError: They are none.
    """
    values: dict[str, float] = {}
    for term in text.replace(" ", "").split(","):
        found = _TERM.fullmatch(term)
        if found is None:
            raise PlanError(f"{_FORM}, not {text!r}: {term!r} is no bound with a unit")
        name, number, unit = found.group(1), float(found.group(2)), found.group(3)
        field = "share" if name == "share" else _FIELDS.get(name)
        if field is None:
            known = ", ".join((*_FIELDS, "share"))
            raise PlanError(f"{_FORM}, not {text!r}: it knows {known}, not {name!r}")
        if (unit == "%") != (name == "share"):
            raise PlanError(f"{_FORM}: a share is in %, a time in us, ms or s, not {term!r}")
        if field in values:
            raise PlanError(f"--objective names {name} twice: {text!r}")
        values[field] = number / 100 if unit == "%" else number * _SECONDS[unit]
    if not 0 < values.get("share", DEFAULT_SHARE) <= 1:
        raise PlanError(f"the share of --objective must be above 0 % up to 100 %, got {text!r}")
    if values.keys() <= {"share"}:
        raise PlanError(f"{_FORM}, not {text!r}: it has no bound on a time")
    return Objective(**values)


def _within(value: float | None, bound: float | None) -> bool:
    return bound is None or value is None or value <= bound


def _duration(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
