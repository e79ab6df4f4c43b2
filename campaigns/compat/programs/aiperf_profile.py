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


def profile(kind: str, *options: str) -> Path:
    """The folder that a run over one kind of endpoint leaves."""
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
    # It fails where every request was cancelled, which is what is wanted of one run.
    subprocess.run(command, check=False, cwd=SCRATCH, timeout=SECONDS, stdout=sys.stderr)
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    """What a run exports."""
    (report,) = folder.rglob("profile_export_aiperf.json")
    return json.loads(report.read_text())


def metric(*words: str) -> float:
    """The sum of the server's figures whose lines have these words."""
    asked = urllib.request.Request(f"{REST}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    figures = [line for line in lines if not line.startswith("#")]
    return sum(float(each.split()[-1]) for each in figures if all(word in each for word in words))


def main() -> None:
    for kind in ("completions", "chat"):
        report = report_of(profile(kind, "--prompt-output-tokens-mean", str(NUM_TOKENS)))
        equal(f"{kind}: requests that succeeded", report["request_count"]["avg"], NUM_REQUESTS)
        holds(f"{kind}: no request failed", not report.get("error_request_count"))
        # Its ignore_eos and its limit together mean exactly so many.
        lengths = report["output_sequence_length"]
        equal(f"{kind}: tokens of each answer", (lengths["min"], lengths["max"]), (NUM_TOKENS,) * 2)
    profile(
        "completions",
        *("--prompt-output-tokens-mean", "2000", "--request-cancellation-rate", "100"),
        *("--request-cancellation-delay", "0.05"),
    )
    cancelled = metric("nextword_requests_total{", 'outcome="cancelled"')
    equal("requests that the server saw cancelled", cancelled, NUM_REQUESTS)
    end = time.monotonic() + SETTLE_SECONDS
    while metric("nextword_engine_running") and time.monotonic() < end:
        time.sleep(0.5)
    equal("sequences that go on after that", metric("nextword_engine_running"), 0)


run(main)
