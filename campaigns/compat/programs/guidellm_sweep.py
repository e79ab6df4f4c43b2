"""guidellm: a sweep from one stream to all at once over completions, and a run over the chat."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from checking import KEY, MODEL, MODEL_FOLDER, REST, SCRATCH, equal, holds, run

NUM_TOKENS = 8
NUM_REQUESTS = 6
SECONDS = 400


def measure(route: str, profile: str) -> list[dict[str, Any]]:
    """What the benchmarks of one run report."""
    report = SCRATCH / f"{route.strip('/').replace('/', '-')}.json"
    backend = f"kind=openai_http,target={REST},model={MODEL},api_key={KEY},request_format={route}"
    command = [
        *(str(Path(sys.executable).with_name("guidellm")), "run", "--backend", backend),
        *("--profile", profile, "--tokenizer", f"kind=hf_auto,model={MODEL_FOLDER}"),
        *("--data", f"kind=synthetic_text,prompt_tokens=32,output_tokens={NUM_TOKENS}"),
        *("--constraint", f"kind=max_requests,count={NUM_REQUESTS}"),
        *("--output", f"kind=json,path={report}", "--disable-console"),
    ]
    subprocess.run(command, check=True, cwd=SCRATCH, timeout=SECONDS)
    return json.loads(report.read_text())["benchmarks"]


def main() -> None:
    for route, profile, expected in (
        ("/v1/completions", "kind=sweep,sweep_size=3", 3),
        ("/v1/chat/completions", "kind=concurrent,streams=2", 1),
    ):
        benchmarks = measure(route, profile)
        equal(f"{route}: benchmarks of the run", len(benchmarks), expected)
        for number, benchmark in enumerate(benchmarks):
            what = f"{route}: benchmark {number}"
            totals = benchmark["metrics"]["request_totals"]
            equal(f"{what}: requests that failed", totals["errored"], 0)
            holds(f"{what}: requests that succeeded", totals["successful"] >= NUM_REQUESTS)
            made = [
                each["output_metrics"]["text_tokens"]
                for each in benchmark["requests"]["successful"]
            ]
            # Its ignore_eos and its limit together mean exactly so many.
            equal(f"{what}: tokens of each answer", set(made), {NUM_TOKENS})


run(main)
