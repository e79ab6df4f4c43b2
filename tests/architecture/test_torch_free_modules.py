"""The serving front never imports torch: half a second and 200 MB it has no use for.

Looks at ``sys.modules`` of a fresh interpreter, so that indirect imports count too.
"""

import subprocess
import sys
from pathlib import Path

TORCH_MODULES = {
    "model.generate",
    "model.kv_cache",
    "model.paged_attention",
    "model.transformer",
    "model.weights",
    "service.engine.batch_invariance",
    "service.engine.cpu.cpu_executor",
    "service.engine.cpu.loading",
    "service.engine.cpu.packed_network",
    "service.engine.cuda.draw_kernel",
    "service.engine.cuda.few_tokens",
    "service.engine.cuda.kernels",
    "service.engine.cuda.layer_kernels",
    "service.engine.cuda.network",
    "service.engine.cuda.prompt_attention",
    "service.engine.cuda.prompt_words",
    "service.engine.cuda.recorded_prompts",
    "service.engine.cuda.recorded_step",
    "service.engine.cuda.row_limits",
    "service.engine.cuda.row_state",
    "service.engine.cuda.single_attention",
    "service.engine.cuda.skinny_kernels",
    "service.engine.cuda.token_places",
    "service.engine.cuda.triton_kernels",
    "service.engine.cuda.unrecorded_step",
    "service.engine.cuda.weight_arithmetic",
    "service.engine.device",
    "service.engine.drawn_natively",
    "service.engine.eager_executor",
    "service.engine.engine",
    "service.engine.executor",
    "service.engine.executor_choice",
    "service.engine.given_text",
    "service.engine.graph_executor",
    "service.engine.guarded_compute",
    "service.engine.loading",
    "service.engine.logit_stages",
    "service.engine.logprobs",
    "service.engine.looking_ahead",
    "service.engine.ngram_executor",
    "service.engine.ngram_loading",
    "service.engine.observers",
    "service.engine.question_desk",
    "service.engine.sampler",
    "service.engine.sampling_trace",
    "service.engine.token_trace",
    "service.engine.token_vectors",
    "service.engine.vector_bytes",
    "service.engine.weight_stages",
    "service.engine_process",
}
SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{name} imports torch")
"""


def import_in_fresh_interpreter(*names: str) -> str:
    """What the interpreter complained of, or an empty string."""
    command = [sys.executable, "-c", SCRIPT, *names]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stderr.strip() if result.returncode else ""


def test_everything_but_the_named_modules_works_without_torch(own_modules: dict[str, Path]) -> None:
    sides = ("model", "service", "nextword")
    names = [name for name in own_modules if name.split(".")[0] in sides]
    torch_free = [name for name in names if name not in TORCH_MODULES]
    assert {"model.tokenizer", "service.main", "service.engine_link.engine_client"} <= set(
        torch_free
    )
    assert import_in_fresh_interpreter(*torch_free) == ""


def test_the_named_modules_exist_and_do_need_torch(own_modules: dict[str, Path]) -> None:
    assert set(own_modules) >= TORCH_MODULES
    assert import_in_fresh_interpreter("model.transformer") == "model.transformer imports torch"
