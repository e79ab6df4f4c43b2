"""What one level of a load test brings while it runs, and how each of its requests is sent."""

import asyncio
import time
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from nextword.bench.plan import Level, Plan
from nextword.bench.prompts import Ask
from nextword.bench.records import RequestRecord, error_code_of
from nextword.bench.stream_reading import digest
from nextword.bench.targets import Target, stream_reader
from nextword.errors import DeadlineExceededError, NextwordError, StatusError
from nextword.request import GRACE_SECONDS

__all__ = ["Measurement", "Sender"]

# A client that was refused waits as long as it was told to, or this long, and never longer.
REFUSED_SECONDS = 0.1
MAX_REFUSED_SECONDS = 2.0
# Streams that have ended are read when the level is over, as long as they are no more than this.
MAX_KEPT_BYTES = 256 << 20


@dataclass(slots=True)
class Measurement:
    """What one level brought, while it runs and after.

    Attributes:
        level: What was measured.
        is_warming_up: Whether requests of the warm-up are running.
        started_at: When the first measured request was sent.
        window_ends_at: When clients stop sending; None where a closed loop's requests are counted.
        num_offered: Requests that an open loop has, sent or not; 0 for a closed loop.
        ended_at: When the last measured request ended.
        records: One for each measured request.
        warmup_records: One for each request of the warm-up.
        running: Requests that are on their way, by the identity of their records.
        num_ended: Requests of all phases that have ended.
        num_failed: Those of them that are known to have failed.
        num_pieces: Pieces of streams that have ended; about as many as tokens.
        cpu_seconds: Processor time that this process used between start and end.
        is_complete: Whether it ran to its end.
        is_given_up: Whether it was ended since the objective could no longer be kept.
    """

    level: Level
    is_warming_up: bool = True
    started_at: float = 0.0
    window_ends_at: float | None = None
    num_offered: int = 0
    ended_at: float | None = None
    records: list[RequestRecord] = dataclass_field(default_factory=list[RequestRecord])
    warmup_records: list[RequestRecord] = dataclass_field(default_factory=list[RequestRecord])
    running: dict[int, RequestRecord] = dataclass_field(default_factory=dict[int, RequestRecord])
    num_ended: int = 0
    num_failed: int = 0
    num_pieces: int = 0
    cpu_seconds: float = 0.0
    is_complete: bool = False
    is_given_up: bool = False


class Sender:
    """Sends requests of a level, and reads what came of them as late as it can.

    Args:
        plan: The load test.
        measured: What grows.
    """

    def __init__(self, plan: Plan, measured: Measurement) -> None:
        self._plan = plan
        self._measured = measured
        self._read = stream_reader(measured.level.address, plan)
        self._num_kept_bytes = 0

    async def send(self, target: Target, ask: Ask, record: RequestRecord) -> float:
        """Send a request and wait for its end; how many seconds its client should pause then."""
        measured = self._measured
        measured.running[id(record)] = record
        pause = 0.0
        try:
            async with asyncio.timeout(self._plan.timeout_seconds + GRACE_SECONDS):
                await target.send(ask, record)
        except NextwordError as error:
            record.fail(error_code_of(error), str(error))
            pause = _pause(error)
        except TimeoutError:
            record.fail("deadline_exceeded", "the time was over, and no word about it")
        finally:
            # What is cancelled leaves here without an end, and counts as neither.
            del measured.running[id(record)]
        record.ended_at = time.perf_counter()
        measured.num_ended += 1
        measured.num_pieces += len(record.pieces)
        # The error that some servers send as an event comes in a short stream: it is known at
        # once, so that its client pauses too.
        if len(record.pieces) < 3 or self._num_kept_bytes > MAX_KEPT_BYTES:
            digest(record, self._read)
            pause = pause or (REFUSED_SECONDS if record.error_code is not None else 0.0)
        else:
            self._num_kept_bytes += sum(len(data) for _, data in record.pieces)
        measured.num_failed += record.error_code is not None
        return pause

    def read_all(self) -> None:
        """Read the streams of all requests, when none is running any more."""
        for record in (*self._measured.warmup_records, *self._measured.records):
            digest(record, self._read)


def _pause(error: NextwordError) -> float:
    match error:
        case DeadlineExceededError():
            return 0.0
        case StatusError(retry_after_seconds=float() as seconds):
            return min(seconds, MAX_REFUSED_SECONDS)
        case _:
            return REFUSED_SECONDS
