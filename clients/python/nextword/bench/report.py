"""The report of a load test as JSON; `report.schema.json` beside this file describes it."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata

from nextword.bench.plan import Plan
from nextword.bench.results import BUSY_SHARE, LevelResult
from nextword.bench.server_facts import ServerFacts

__all__ = ["FORMAT_VERSION", "make_report"]

FORMAT_VERSION = 1


def make_report(
    plan: Plan, servers: Sequence[ServerFacts], results: Sequence[LevelResult]
) -> dict[str, object]:
    """Everything that was asked, met and measured; durations are in seconds."""
    return {
        "format": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "client": {
            "version": metadata.version("nextword"),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "num_processors": os.cpu_count() or 1,
            "busy_share": BUSY_SHARE,
        },
        "plan": {
            "mode": "closed loop, streamed, a connection for each client",
            "api": plan.api,
            "tokens_counted_by": "ids" if plan.api == "native" else "usage",
            "urls": [address.url for address in plan.addresses],
            "model": plan.model,
            "concurrencies": list(plan.concurrencies),
            "num_requests": plan.num_requests,
            "seconds": plan.seconds,
            "num_prompt_tokens": plan.num_prompt_tokens,
            "max_tokens": plan.max_tokens,
            "num_warmup_requests": plan.num_warmup_requests,
            "temperature": plan.temperature,
            "vocabulary_size": plan.vocabulary_size,
            "seed": plan.seed,
            "timeout_seconds": plan.timeout_seconds,
        },
        "servers": [asdict(server) for server in servers],
        "levels": [
            {**asdict(result), "is_client_busy": result.is_client_busy} for result in results
        ],
    }
