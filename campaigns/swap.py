"""What running streams feel of a swap: the gaps between their tokens during one against before.

Streams run over both protocols all the time while a new version of the bundled model, with other
weights, is published. Prints the 99th percentiles and their ratio, which must be within 3; checks
that every stream has the tokens of the one version that it names, and that both versions answered.
`--control` runs against a server that ends the old version at once, and exits with 3 when the
streams that this cuts are noticed.
"""

import argparse
import asyncio
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx2
import torch
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from campaigns.live.server_process import ServerProcess, running_server
from campaigns.verdict import control_status
from model.store import publish
from model.weights import load_transformer, save_weights

__all__ = ["main"]

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLED = REPOSITORY / "artifacts" / "fairytales" / "1"
NAME = "fairytales"
NUM_STREAMS = 4
MAX_RATIO = 3.0
PATIENCE_SECONDS = 600.0
CONTROL_SECONDS = 2.0
# A number type of the weights with which a stream's tokens do not depend on its neighbours.
ENGINE_FLAGS = ("--device", "cpu", "--dtype", "f32", "--deterministic")


@dataclass(slots=True)
class Record:
    """What all streams saw.

    Attributes:
        gaps: Moment and length of each gap between two messages of one stream, in seconds.
        ends: Number of the request, version and tokens of each whole stream.
        faults: What ended otherwise.
    """

    gaps: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    ends: list[tuple[int, str, list[int]]] = field(default_factory=list[tuple[int, str, list[int]]])
    faults: list[str] = field(default_factory=list[str])

    def percentile(self, begin: float, end: float, share: float) -> tuple[float, int]:
        """A percentile of the gaps that ended between two moments, and their number."""
        found = sorted(gap for at, gap in self.gaps if begin <= at < end)
        return (found[math.ceil(share * len(found)) - 1] if found else math.nan), len(found)


def main() -> int:
    """Run the campaign; 1 when the ratio is above its limit or a stream was cut or mixed.

    The control gives 3 when a stream was cut, as one must be, and 0 when none was.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to measure before")
    parser.add_argument("--control", action="store_true", help="the old version ends at once")
    parser.add_argument("--max-ratio", type=float, default=MAX_RATIO)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(BUNDLED, root / NAME / "1")
        prepared = _prepare_other_weights(root / "aside" / NAME)
        flags = ("--models", str(root), "--poll-interval", "0.2", *ENGINE_FLAGS)
        module = "campaigns.broken_builds.hasty_server" if options.control else "service"
        seconds = CONTROL_SECONDS if options.control else options.seconds
        with running_server(*flags, module=[module]) as server:
            record = Record()
            begin, swap, end = asyncio.run(_measure(server, record, root / NAME, prepared, seconds))
        if options.control:
            return control_status([f"a stream was cut: {fault}" for fault in record.faults])
        folders = ("--model", f"{NAME}={root / NAME / '1'}", "--model", str(root / NAME / "2"))
        with running_server(*folders, *ENGINE_FLAGS) as server:
            num_mixed = _num_mixed(server, record)
    before, num_before = record.percentile(begin, swap, 0.99)
    during, num_during = record.percentile(swap, end, 0.99)
    ratio = during / before
    versions = sorted({version for _, version, _ in record.ends})
    print(
        f"swap: {NUM_STREAMS} streams; inter-token p99 before {before * 1e3:.1f} ms "
        f"({num_before} gaps), during the swap of {end - swap:.1f} s {during * 1e3:.1f} ms "
        f"({num_during} gaps): ratio {ratio:.2f}, limit {options.max_ratio:g}"
    )
    print(
        f"{len(record.ends)} whole streams by versions {', '.join(versions)}, {num_mixed} with "
        f"other tokens than their version gives, {len(record.faults)} cut: {record.faults[:3]}"
    )
    is_good = ratio <= options.max_ratio and num_mixed == 0 and not record.faults
    return 0 if is_good and versions == ["1", "2"] else 1


def _prepare_other_weights(root: Path) -> Path:
    """A folder like the bundled one whose weights differ a little."""
    model = load_transformer(BUNDLED, device=torch.device("cpu"), dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * parameter.std() * 0.05)

    def write(directory: Path) -> None:
        for name in ("config.json", "generation_config.json", "README.md"):
            shutil.copy(BUNDLED / name, directory)
        for path in BUNDLED.glob("tokenizer*.json"):
            shutil.copy(path, directory)
        save_weights(model, directory, dtype=torch.bfloat16, max_shard_bytes=1 << 30)

    return publish(root, write, manifest={})


async def _measure(
    server: ServerProcess, record: Record, store: Path, prepared: Path, seconds: float
) -> tuple[float, float, float]:
    """Moments of the begin of measuring, of the publication, and of the end of the swap."""
    is_over = asyncio.Event()
    async with (
        httpx2.AsyncClient(base_url=server.rest, timeout=PATIENCE_SECONDS, verify=False) as rest,
        grpc.aio.insecure_channel(server.grpc) as channel,
        asyncio.TaskGroup() as group,
    ):
        for number in range(NUM_STREAMS):
            group.create_task(_keep_asking(rest, channel, number, record, is_over))
        # Until every stream has had its first tokens.
        await asyncio.sleep(seconds / 5)
        begin = time.monotonic()
        await asyncio.sleep(seconds)
        swap = time.monotonic()
        await asyncio.to_thread(prepared.rename, store / "2")
        while (await rest.get(f"/v1/models/{NAME}")).json()["version"] != "2":
            assert time.monotonic() < swap + PATIENCE_SECONDS, "the swap does not end"
            await asyncio.sleep(0.1)
        end = time.monotonic()
        # Streams go to the new version when they begin, so the old ones must end first.
        while all(version != "2" for _, version, _ in record.ends):
            assert time.monotonic() < end + PATIENCE_SECONDS, "no stream of the new version ends"
            await asyncio.sleep(0.1)
        is_over.set()
    return begin, swap, end


def _parameters(number: int) -> dict[str, object]:
    return {"max_tokens": 200, "ignore_eos": True, "temperature": 0.8, "seed": number}


async def _keep_asking(
    rest: httpx2.AsyncClient,
    channel: "grpc.aio.Channel",
    number: int,
    record: Record,
    is_over: asyncio.Event,
) -> None:
    """One stream after another, each with the same request."""
    while not is_over.is_set():
        token_ids: list[int] = []
        version = ""
        last: float | None = None
        events = _grpc_events(channel, number) if number % 2 else _rest_events(rest, number)
        try:
            async for ids, named in events:
                version = named
                now = time.monotonic()
                if last is not None:
                    record.gaps.append((now, now - last))
                last = now
                token_ids += ids
        except (httpx2.HTTPError, grpc.aio.AioRpcError, KeyError) as error:
            record.faults.append(repr(error)[:200])
        else:
            record.ends.append((number, version, token_ids))


async def _rest_events(
    rest: httpx2.AsyncClient, number: int
) -> AsyncGenerator[tuple[Sequence[int], str]]:
    body = {"prompt": "Once upon a time", "stream": True, **_parameters(number)}
    async with rest.stream("POST", "/v1/generate", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                yield event["token_ids"], event.get("model_version", "")


async def _grpc_events(
    channel: "grpc.aio.Channel", number: int
) -> AsyncGenerator[tuple[Sequence[int], str]]:
    parameters = pb.SamplingParameters(
        max_tokens=200, ignore_eos=True, temperature=0.8, seed=number
    )
    request = pb.StreamGenerateTextRequest(prompt="Once upon a time", parameters=parameters)
    # The stubs know the synchronous channel only.
    stub = TextGenerationServiceStub(channel)  # pyright: ignore[reportArgumentType]
    async for message in stub.StreamGenerateText(request):  # pyright: ignore
        yield list(message.token_ids), message.summary.model_version  # pyright: ignore


def _num_mixed(server: ServerProcess, record: Record) -> int:
    """Streams whose tokens are not what their version alone gives."""
    expected: dict[tuple[int, str], list[int]] = {}
    num_mixed = 0
    for number, version, token_ids in record.ends:
        if (number, version) not in expected:
            body = {
                "prompt": "Once upon a time",
                "model": f"{NAME}@{version}",
                **_parameters(number),
            }
            answer = httpx2.post(
                f"{server.rest}/v1/generate", json=body, timeout=PATIENCE_SECONDS, verify=False
            )
            expected[number, version] = answer.json()["choices"][0]["token_ids"]
        num_mixed += token_ids != expected[number, version]
    return num_mixed


if __name__ == "__main__":
    sys.exit(main())
