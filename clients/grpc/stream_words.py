"""Print the next words of a text over gRPC, as the server makes them.

python clients/grpc/stream_words.py "Once upon a time" --temperature 0.8 --top-k 50
"""

import argparse
import sys
from typing import cast

import grpc
from nextword.v1 import text_generation_pb2 as messages
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub


def main() -> int:
    """Run the command; 1 when the server refuses or cannot be reached."""
    parser = argparse.ArgumentParser(description="Print the next words of a text.")
    parser.add_argument("prompt", nargs="?", default="Once upon a time")
    parser.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT of the server")
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    request = messages.StreamGenerateTextRequest(
        prompt=given.prompt,
        parameters=messages.SamplingParameters(
            max_tokens=given.max_tokens,
            temperature=given.temperature,
            top_k=given.top_k,
            seed=given.seed,
        ),
    )
    print(given.prompt, end="", flush=True)
    try:
        with grpc.insecure_channel(given.address) as channel:
            for piece in TextGenerationServiceStub(channel).StreamGenerateText(request):
                print(piece.text, end="", flush=True)
                if piece.HasField("summary"):
                    summary = piece.summary
                    print(
                        f"\n\n[{summary.usage.completion_tokens} tokens of {summary.model}@"
                        f"{summary.model_version}, seed {summary.parameters.seed}]"
                    )
    except grpc.RpcError as error:
        call = cast("grpc.Call", error)
        print(f"\n{call.code().name}: {call.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
