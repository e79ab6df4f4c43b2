"""transformers' own continuous batching beside ours, if transformers is installed."""

import importlib.util
import time

import torch
from gpu_models import random_model, shape
from gpu_rates import server_with, stream_rate

__all__ = ["rival_rate"]

NUM_REQUESTS, PROMPT_TOKENS, NEW_TOKENS = 128, 32, 128


def rival_rate() -> dict[str, object] | None:
    """Tokens per second of 128 requests for 128 tokens each, from the first request to the last
    token, its and ours; None without transformers.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    import transformers

    config = transformers.LlamaConfig(**shape("1.1 B").to_dict())
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
    model.set_attn_implementation("paged|sdpa")
    settings = transformers.GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=True,
        temperature=0.8,
        top_k=50,
        eos_token_id=-1,
        pad_token_id=0,
    )
    prompts = [
        [(number * 7919 + place * 31) % 8000 for place in range(PROMPT_TOKENS)]
        for number in range(NUM_REQUESTS)
    ]
    model.generate_batch(inputs=prompts[:4], generation_config=settings)
    began = time.perf_counter()
    answers = model.generate_batch(inputs=prompts, generation_config=settings)
    seconds = time.perf_counter() - began
    num_tokens = sum(len(answer.generated_tokens) for answer in answers.values())
    del model
    torch.cuda.empty_cache()
    server = server_with(random_model("1.1 B"), max_running=NUM_REQUESTS, context_tokens=512)
    lengths = {"prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW_TOKENS}
    ours = sorted(stream_rate(server, NUM_REQUESTS, **lengths)[1] for _ in range(5))[2]
    return {
        "version": transformers.__version__,
        "tokens": num_tokens,
        "tokens/s": num_tokens / seconds,
        "ours, tokens/s": ours,
        "ratio": ours * seconds / num_tokens,
    }
