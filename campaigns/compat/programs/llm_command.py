"""The command `llm` with a server of one's own in its settings."""

import os
import subprocess
import sys
from pathlib import Path

from checking import KEY, MODEL, REST, SCRATCH, equal, holds, run

SETTINGS = f"""
- model_id: ours
  model_name: {MODEL}
  api_base: {REST}/v1
  api_key_name: ours
- model_id: ours-completions
  model_name: {MODEL}
  api_base: {REST}/v1
  api_key_name: ours
  completion: true
"""
OPTIONS = ("-o", "seed", "7", "-o", "max_tokens", "24")


def llm(*arguments: str) -> str:
    """What the command prints."""
    command = [str(Path(sys.executable).with_name("llm")), *arguments]
    environment = {**os.environ, "LLM_USER_PATH": str(SCRATCH)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    return done.stdout


def main() -> None:
    (SCRATCH / "extra-openai-models.yaml").write_text(SETTINGS)
    holds("the models are listed", "ours-completions" in llm("models"))
    for model in ("ours", "ours-completions"):
        asked = ("-m", model, "--key", KEY, "Tell me about the wolf.", *OPTIONS)
        streamed = llm(*asked)
        holds(f"{model} says something", streamed.strip())
        equal(f"{model}, streamed", streamed, llm(*asked, "--no-stream"))


run(main)
