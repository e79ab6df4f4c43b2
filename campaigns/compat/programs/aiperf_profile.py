"""aiperf: streams of /v1/completions and of the chat, and requests that it cancels half-way."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from checking import KEY, MODEL, MODEL_FOLDER, REST, SCRATCH, equal, holds, run

NUM_TOKENS = 8
NUM_REQUESTS = 8
SECONDS = 400
SETTLE_SECONDS = 60


def profile(kind: str, *options: str) -> dict[str, Any]:
    """What a run over one kind of endpoint exports."""
    folder = SCRATCH / f"{kind}-{len(options)}"
    command = [
        *(str(Path(sys.executable).with_name("aiperf")), "profile", "-m", MODEL, "--url", REST),
        *("--endpoint-type", kind, "--streaming", "--api-key", KEY),
        *("--tokenizer", str(MODEL_FOLDER), "--use-server-token-count", "--ui-type", "none"),
        *("--prompt-input-tokens-mean", "32", "--extra-inputs", "ignore_eos:true"),
        *("--concurrency", "2", "--request-count", str(NUM_REQUESTS), "--workers-max", "1"),
        *("--no-server-metrics", "--no-gpu-telemetry", "--output-artifact-dir", str(folder)),
        *options,
    ]
    subprocess.run(command, check=True, cwd=SCRATCH, timeout=SECONDS, stdout=sys.stderr)
    (report,) = folder.rglob("profile_export_aiperf.json")
    return json.loads(report.read_text())


def running() -> float:
    """Sequences that the server's engine computes."""
    asked = urllib.request.Request(f"{REST}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("nextword_engine_running")
    )


def main() -> None:
    for kind in ("completions", "chat"):
        report = profile(kind, "--prompt-output-tokens-mean", str(NUM_TOKENS))
        equal(f"{kind}: requests that succeeded", report["request_count"]["avg"], NUM_REQUESTS)
        holds(f"{kind}: no request failed", not report.get("error_request_count"))
        # Its ignore_eos and its limit together mean exactly so many.
        lengths = report["output_sequence_length"]
        equal(f"{kind}: tokens of each answer", (lengths["min"], lengths["max"]), (NUM_TOKENS,) * 2)
    profile(
        "completions",
        *("--prompt-output-tokens-mean", "2000", "--request-cancellation-rate", "100"),
        *("--request-cancellation-delay", "0.5"),
    )
    end = time.monotonic() + SETTLE_SECONDS
    while running() and time.monotonic() < end:
        time.sleep(0.5)
    equal("sequences that go on after they were cancelled", running(), 0)


run(main)
