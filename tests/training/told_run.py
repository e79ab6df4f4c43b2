"""A run as its events tell it, and what its metrics port answers then."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from training.progress import Progress
from training.run_log.facts import JsonValue


def step_facts(step: int, *, loss: float = 4.0) -> dict[str, JsonValue]:
    return {
        "step": step,
        "num_steps": 100,
        "loss": loss,
        "learning_rate": 0.001,
        "gradient_norm": 0.5,
        "tokens": step * 1000,
        "tokens_per_second": 48_000.0,
        "elapsed_seconds": step * 2.0,
    }


def tell_a_run(progress: Progress) -> None:
    progress.event("start", command="nextword-train --corpus a.txt", name="a", parameters=1234)
    progress.event("corpus", description="a.txt", documents=1, bytes=9000, train_tokens=4000)
    progress.event("ngram", order=5, bits_per_byte=2.01, nats_per_token=4.9)
    for step in range(1, 21):
        progress.event("step", **step_facts(step))
    progress.event("evaluation", step=20, loss=4.5, bits_per_byte=1.85, is_best=True)


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers.get_content_type() == "text/plain"
        text = answer.read().decode("utf-8")
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
