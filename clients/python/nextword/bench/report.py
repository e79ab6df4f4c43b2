"""The report of a load test as JSON; `report.schema.json` beside this file describes it."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata

from nextword.bench.curves import QUANTILES
from nextword.bench.plan import Plan
from nextword.bench.repeats import repeated_levels
from nextword.bench.results import BUSY_SHARE, LATE_SECONDS, LevelResult
from nextword.bench.server_facts import ServerFacts
from nextword.bench.sweep import SweepResult

__all__ = ["FORMAT_VERSION", "make_report"]

FORMAT_VERSION = 2


def make_report(
    plan: Plan,
    servers: Sequence[ServerFacts],
    results: Sequence[LevelResult],
    sweeps: Sequence[SweepResult] = (),
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
            "late_seconds": LATE_SECONDS,
        },
        "plan": _plan(plan),
        "servers": [asdict(server) for server in servers],
        "quantiles": list(QUANTILES),
        "levels": [
            {
                **asdict(result),
                "is_client_busy": result.is_client_busy,
                "is_client_late": result.is_client_late,
            }
            for result in results
        ],
        "repeated_levels": [asdict(level) for level in repeated_levels(results)],
        "sweeps": [asdict(sweep) for sweep in sweeps],
    }


def _plan(plan: Plan) -> dict[str, object]:
    return {
        "api": plan.api,
        "tokens_counted_by": "ids" if plan.api == "native" else "usage",
        "urls": [address.url for address in plan.addresses],
        "model": plan.model,
        "concurrencies": list(plan.concurrencies),
        "rates": list(plan.rates),
        "is_sweep": plan.is_sweep,
        "arrivals": plan.arrivals,
        "num_requests": plan.num_requests,
        "seconds": plan.seconds,
        "num_warmup_requests": plan.num_warmup_requests,
        "num_repeats": plan.num_repeats,
        "prompts_file": plan.prompts.file,
        "num_prompts_in_file": len(plan.prompts.given),
        "prompt_tokens": asdict(plan.prompts.prompt_tokens),
        "shared_prefix_tokens": plan.prompts.shared_prefix_tokens,
        "max_tokens": asdict(plan.prompts.max_tokens),
        "objective": None if plan.objective is None else asdict(plan.objective),
        "temperature": plan.temperature,
        "vocabulary_size": plan.vocabulary_size,
        "parameters": dict(plan.parameters),
        "seed": plan.seed,
        "timeout_seconds": plan.timeout_seconds,
    }
