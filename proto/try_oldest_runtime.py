"""Run the stubs on the oldest protobuf and grpcio that they allow: `make check-protobuf`.

An environment of its own gets exactly the versions that the stubs are stamped with. In it a server
made of the stubs answers a client made of the stubs; a warning is an error.
"""

import re
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STUBS_ROOT = Path(__file__).resolve().parent.parent / "clients" / "python"
INSIDE = "--inside"


def main() -> int:
    """Run the command; 1 when something differs."""
    if INSIDE in sys.argv:
        return call_every_method()
    folder = STUBS_ROOT / "nextword" / "v1"
    stamps = {
        "protobuf": (r"Protobuf Python Version: ([\d.]+)", "text_generation_pb2.py"),
        "grpcio": (r"GRPC_GENERATED_VERSION = '([\d.]+)'", "text_generation_pb2_grpc.py"),
    }
    requirements: list[str] = []
    for package, (pattern, file) in stamps.items():
        found = re.search(pattern, (folder / file).read_text())
        assert found is not None
        requirements.append(f"{package}=={found[1]}")
    with tempfile.TemporaryDirectory() as temporary:
        venv.create(temporary, with_pip=True)
        python = Path(temporary) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        done = subprocess.run([python, "-W", "error", __file__, INSIDE], check=False)
    print(f"{'passed' if done.returncode == 0 else 'FAILED'} on {', '.join(requirements)}")
    return done.returncode


def call_every_method() -> int:
    """Every method of the service once, between a server and a client of the stubs."""
    sys.path.insert(0, str(STUBS_ROOT))
    # Only the environment of its own has these; the script outside of it needs none of them.
    import grpc
    from google.protobuf import json_format
    from nextword.v1 import text_generation_pb2 as pb
    from nextword.v1 import text_generation_pb2_grpc as calls

    parameters = pb.SamplingParameters(
        temperature=0, seed=2**64 - 1, stop=["a"], logit_bias={1: -0.5}, logprobs=0
    )

    def filled(name):
        message = getattr(pb, name)()
        if "parameters" in message.DESCRIPTOR.fields_by_name:
            message.parameters.CopyFrom(parameters)
        if "summary" in message.DESCRIPTOR.fields_by_name:
            message.summary.parameters.CopyFrom(parameters)
        text = json_format.MessageToJson(message)
        assert json_format.Parse(text, type(message)()) == message, name
        return message

    def behaviour(method):
        def behave(self, request, context):
            assert request == filled(method.input_type.name), method.name
            answer = filled(method.output_type.name)
            return iter([answer, answer]) if method.server_streaming else answer

        return behave

    methods = pb.DESCRIPTOR.services_by_name["TextGenerationService"].methods
    servicer = type(
        "Servicer",
        (calls.TextGenerationServiceServicer,),
        {method.name: behaviour(method) for method in methods},
    )
    server = grpc.server(ThreadPoolExecutor(2))
    calls.add_TextGenerationServiceServicer_to_server(servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = calls.TextGenerationServiceStub(channel)
        for method in methods:
            given = getattr(stub, method.name)(filled(method.input_type.name), timeout=30)
            answers = list(given) if method.server_streaming else [given]
            assert len(answers) == 1 + method.server_streaming
            assert all(answer == filled(method.output_type.name) for answer in answers)
    server.stop(None).wait()
    print(f"{len(methods)} methods answered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
