"""Who may import whom: model <- training, model <- service, and the service's own order.

The transports stand side by side, the core knows neither, the engine knows tokens only.
"""

import re
from collections.abc import Sequence
from typing import Protocol

import pytest

OURS = r"(model|training|service|nextword|clients|tests)\b"
TRANSPORTS = r"service\.(rest_api|grpc_api|servers|main|__main__)\b"

# (importing modules, names they must not import, why)
RULES = [
    (r"model\b", r"(training|service|nextword)\b", "model is what both sides share"),
    (r"training\b", r"(service|nextword)\b", "training and serving meet in the artifact only"),
    (r"service\b", r"training\b", "training and serving meet in the artifact only"),
    (r"nextword\b", r"(model|training|service)\b", "the client is installed without the server"),
    (r"service\.rest_api\b", r"service\.grpc_api\b", "the transports do not know each other"),
    (r"service\.grpc_api\b", r"service\.rest_api\b", "the transports do not know each other"),
    (
        r"service\.(?!main|__main__|servers|rest_api|grpc_api)",
        TRANSPORTS,
        "the core knows no transport",
    ),
    (r"service\.(rest_api|grpc_api)\b", r"service\.(main|__main__|servers)\b", "main composes"),
    (
        r"service\.grpc_transport\b",
        r"(model|nextword|service\.(?!grpc_transport\.))",
        "HTTP/2 knows nothing of what it carries",
    ),
    (r"service\.(?!grpc_)", r"(service\.grpc_transport|h2)\b", "what carries gRPC is gRPC's"),
    (r"service\.engine\b", r"service\.(?!engine\.)", "the engine knows tokens only"),
    (
        r"service\.(?!engine\.|engine_process)",
        r"service\.(engine\.(?!messages\b|trace_messages\b|frames\b|questions\b)|engine_process\b)",
        "the front speaks to the engine through its messages",
    ),
    (r"service\.rest_api\b", r"(grpc|nextword)\b", "REST works without gRPC's types"),
    (r"service\.grpc_api\b", r"(fastapi|starlette|uvicorn)\b", "gRPC works without REST's"),
    (r"service\.engine\b", r"(asyncio|socket|tokenizers|model\.tokenizer)\b", "tokens only"),
    (OURS, r"(pickle|dill|cloudpickle|joblib)\b", "nothing of ours is pickled"),
]


class Import(Protocol):
    """What conftest.py's fixture holds."""

    importer: str
    imported: str
    place: str


def violations(imports: Sequence[Import], importers: str, forbidden: str) -> list[str]:
    return [
        f"{found.place}: {found.importer} imports {found.imported}"
        for found in imports
        if re.match(importers, found.importer) and re.match(forbidden, found.imported)
    ]


@pytest.mark.parametrize(("importers", "forbidden", "why"), RULES)
def test_no_module_imports_against_the_rules(
    own_imports: Sequence[Import], importers: str, forbidden: str, why: str
) -> None:
    assert any(re.match(importers, found.importer) for found in own_imports), "a rule for nobody"
    assert not violations(own_imports, importers, forbidden), why


def test_the_imports_are_really_seen(own_imports: Sequence[Import]) -> None:
    # What certainly is there must be found, or the rules above hold for an empty list.
    assert violations(own_imports, r"model\.transformer", r"torch\b")
    assert violations(own_imports, r"service\.servers", r"service\.(rest_api|grpc_api)")


def test_imports_are_absolute_and_name_the_module(own_imports: Sequence[Import]) -> None:
    assert not violations(own_imports, OURS, r"\.")
    assert not violations(own_imports, OURS, r"(.*)\.\*$")
