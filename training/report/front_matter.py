"""The front matter of a model card: what model hubs read (YAML between two lines of three
hyphens)."""

import json
import math

from training.report.run_facts import RunFacts, perplexity


def front_matter(facts: RunFacts, *, license_id: str) -> str:
    """Returns licence, tags and the held-out figures; nothing that is not known."""
    lines = ["---", f"license: {_yaml(license_id)}"]
    if license_id == "other":
        lines.append(f"license_name: {_yaml('not-stated')}")
    lines += ["library_name: transformers", "pipeline_tag: text-generation"]
    lines += ["tags:", "  - nextword", "  - llama", "  - text-generation"]
    best = facts.best
    if best is not None and math.isfinite(best.loss):
        dataset = facts.corpus.description if facts.corpus is not None else "held-out text"
        lines += [
            "model-index:",
            f"  - name: {_yaml(facts.name)}",
            "    results:",
            "      - task:",
            "          type: text-generation",
            "        dataset:",
            f"          name: {_yaml(f'{dataset} (held out)')}",
            "          type: text",
            "        metrics:",
            *_metric("bits_per_byte", "bits per byte", best.bits_per_byte),
            *_metric("perplexity", "perplexity per token", perplexity(best)),
        ]
    return "\n".join([*lines, "---"])


def _metric(kind: str, name: str, value: float) -> list[str]:
    return [
        f"          - type: {kind}",
        f"            name: {name}",
        f"            value: {value:.4f}",
    ]


def _yaml(text: str) -> str:
    """A JSON string is a YAML string, whatever it holds."""
    return json.dumps(text)
