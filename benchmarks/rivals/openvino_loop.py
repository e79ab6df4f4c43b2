"""Run by the Python that has openvino_genai: loads a GGUF file, then answers loads line by line.

python openvino_loop.py WEIGHTS STREAMS THREADS
"""

# pyright: basic
# The library is not among what this project installs.
import json
import random
import sys
import time

import numpy as np
import openvino as ov  # pyright: ignore
import openvino_genai as genai  # pyright: ignore


def main(weights: str, streams: int, threads: int) -> None:
    """Load, say so, and answer until the input ends."""
    scheduling = genai.SchedulerConfig()
    scheduling.max_num_batched_tokens = 512
    scheduling.max_num_seqs = streams
    scheduling.cache_size = 2
    scheduling.dynamic_split_fuse = True
    scheduling.enable_prefix_caching = False
    pipeline = genai.LLMPipeline(
        weights, "CPU", scheduler_config=scheduling, INFERENCE_NUM_THREADS=threads
    )
    print(json.dumps({"ready": True, "version": genai.get_version()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_wave_after_wave(pipeline, **json.loads(line))), flush=True)


def _wave_after_wave(
    pipeline: "genai.LLMPipeline",
    *,
    streams: int,
    waves: int,
    prompt_tokens: int,
    max_tokens: int,
    vocabulary_size: int,
    seed: int,
) -> dict[str, float]:
    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = max_tokens
    config.ignore_eos = True
    config.do_sample = False
    config.apply_chat_template = False
    drawn = random.Random(seed)

    def wave(num_tokens: int) -> int:
        config.max_new_tokens = config.min_new_tokens = num_tokens
        ids = [
            [drawn.randrange(10, vocabulary_size) for _ in range(prompt_tokens)]
            for _ in range(streams)
        ]
        inputs = genai.TokenizedInputs(
            ov.Tensor(np.array(ids, dtype=np.int64)),
            ov.Tensor(np.ones((streams, prompt_tokens), dtype=np.int64)),
        )
        answer = pipeline.generate(inputs, config)
        return sum(len(tokens) for tokens in answer.tokens)

    wave(8)
    began = time.perf_counter()
    num_tokens = sum(wave(max_tokens) for _ in range(waves))
    seconds = time.perf_counter() - began
    if num_tokens != waves * streams * max_tokens:
        raise RuntimeError(f"{num_tokens} tokens instead of {waves * streams * max_tokens}")
    return {"tokens_per_second": num_tokens / seconds}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
