"""Random requests for /v1/generate and its RPCs: most valid, and each line of group C broken.

A request is a JSON object, or bytes where it is meant to be none. What gRPC's types cannot say (a
number as a string, an unknown field) is asked over REST only.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BROKEN", "CONTEXT_TOKENS", "DrawnRequest", "draw_requests"]

Body = dict[str, object]
Draw = Callable[[random.Random], "DrawnRequest"]

CONTEXT_TOKENS = 1024
VOCABULARY_SIZE = 257
TEXTS = (
    "Once upon a time there was a miller who had three sons, and when he died ",
    "It is a truth universally acknowledged, that a single man in possession of ",
    "\u4ece\u524d\u6709\u4e00\u4e2a\u78e8\u574a\u4e3b \U0001f40e\U0001f3fd caf\u00e9 \u05d0\u05d1 ",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRequest:
    """One request to send in every way that can say it.

    Attributes:
        hazard: The line that it was drawn from, "valid" for none.
        body: Its JSON, None where it is none.
        rest_bytes: Sent over REST instead of the JSON of `body`.
        grpc_bytes: Sent over gRPC instead of the message of `body`; where both are None, gRPC is
            asked if its types can say the body.
        is_same_code: Whether both protocols name the same fault, or only refuse alike.
        request_id: Sent along.
        rest_headers: Sent over REST, instead of the usual ones of the same names.
    """

    hazard: str
    body: Body | None = None
    rest_bytes: bytes | None = None
    grpc_bytes: bytes | None = None
    is_same_code: bool = True
    request_id: str | None = None
    rest_headers: tuple[tuple[str, str], ...] = ()


def draw_requests(seed: int, *, number: int) -> list[DrawnRequest]:
    """Requests in random order; every line of the table comes before any comes twice.

    Args:
        seed: The same one gives the same requests.
        number: How many; about two thirds are valid.
    """
    source = random.Random(seed)
    broken = list(BROKEN.items())
    source.shuffle(broken)
    requests: list[DrawnRequest] = []
    for index in range(number):
        if index % 3 == 2:
            hazard, draw = broken[index // 3 % len(broken)]
            requests.append(draw(source) if callable(draw) else source.choice(draw))
            assert requests[-1].hazard.startswith(hazard.rstrip("abcdefghij")), hazard
        else:
            requests.append(DrawnRequest(hazard="valid", body=draw_valid(source)))
    source.shuffle(requests)
    return requests


def draw_valid(source: random.Random) -> Body:
    """A body that every way must answer with the same text."""
    body: Body = {"seed": source.randrange(2**63), "max_tokens": source.choice([1, 8, 24, 60])}
    # Few different beginnings, so that later requests find the blocks of earlier ones.
    prompt = source.choice(TEXTS) * source.choice([1, 1, 2, 8])
    body["prompt"] = prompt + str(source.randrange(5))
    if source.random() < 0.25:
        del body["prompt"]
        shared = [source.randrange(2) + 97] * source.choice([1, 16, 300, 600])
        body["prompt_ids"] = [*shared, *source.choices(range(1, VOCABULARY_SIZE), k=3)]
    for name, draw in OPTIONS.items():
        if source.random() < 0.3:
            body[name] = draw(source)
    if "min_tokens" in body:
        body["max_tokens"] = source.randint(8, 24)
    return body


OPTIONS: dict[str, Callable[[random.Random], object]] = {
    "temperature": lambda source: source.choice([0, -0.0, 1e-45, 0.5, 1.0, 1.7, 100]),
    "top_k": lambda source: source.choice([-1, 0, 1, 5, VOCABULARY_SIZE, 2**31 - 1]),
    "top_p": lambda source: source.choice([1, 0.9, 0.3, 1e-9]),
    "min_p": lambda source: source.choice([0, 0.02, 0.5, 1]),
    "repetition_penalty": lambda source: source.choice([1, 1.3, 0.7]),
    "presence_penalty": lambda source: source.choice([0, 0.5, -100]),
    "frequency_penalty": lambda source: source.choice([0, 0.5, 100]),
    "min_tokens": lambda source: source.randrange(9),
    # Some that are likely to come, and some that only ever begin.
    "stop": lambda source: source.sample([*"aeinost", "\u00e9", "ab", "zz\U0001f40e"], k=4),
    "stop_token_ids": lambda source: source.sample(range(VOCABULARY_SIZE), k=12),
    "n": lambda source: source.choice([1, 2, 3]),
    "logit_bias": lambda source: {
        str(token_id): source.choice([-100.0, -1.5, 2.0, 100.0])
        for token_id in [0, *source.sample(range(VOCABULARY_SIZE), k=4)]
    },
    "logprobs": lambda source: source.choice([0, 1, 5, 20]),
    "echo": lambda source: source.choice([True, False]),
    "ignore_eos": lambda source: source.choice([True, False]),
    "parse_special_tokens": lambda source: source.choice([True, False]),
    "timeout_seconds": lambda source: 600,
}


def _with(hazard: str, **changes: object) -> DrawnRequest:
    """A small valid body with some fields changed; one that is set to ... is left out."""
    body: Body = {"prompt": "Once", "seed": 7, "max_tokens": 4, **changes}
    kept = {name: value for name, value in body.items() if value is not ...}
    return DrawnRequest(hazard=hazard, body=kept)


def _each(hazard: str, name: str, *values: object) -> list[DrawnRequest]:
    return [_with(hazard, **{name: value}) for value in values]


def _raw(hazard: str, rest: bytes, grpc: bytes | None = None) -> DrawnRequest:
    return DrawnRequest(hazard=hazard, rest_bytes=rest, grpc_bytes=grpc, is_same_code=False)


def _ids(number: int) -> list[int]:
    return [1 + index % 200 for index in range(number)]


NAN, INFINITY = float("nan"), float("inf")
NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty")
# What is no JSON is no message either, but not by the same name.
_NOT_FINITE = [
    DrawnRequest(hazard="H24", body={"prompt": "Once", "seed": 7, name: value}, is_same_code=False)
    for name in NUMBERS
    for value in (NAN, INFINITY, -INFINITY)
]
BROKEN: dict[str, list[DrawnRequest] | Draw] = {
    "H20": [
        *(_with("H20", prompt=..., prompt_ids=[5, bad]) for bad in (-1, 257, 2**31, 2**63)),
        *(_with("H20", logit_bias={str(bad): 1.0}) for bad in (-1, 257, 2**31, 2**63)),
        *(_with("H20", stop_token_ids=[bad]) for bad in (-1, 257, 2**31, 2**63)),
    ],
    "H21": [*_each("H21", "n", 0, -1, 129, 2**31 - 1), _with("H21", best_of=2)],
    "H22": [
        *_each("H22", "max_tokens", CONTEXT_TOKENS, 2**31 - 1),
        _with("H22", prompt=..., prompt_ids=_ids(900), max_tokens=126),
        _with("H22", prompt="a" * 5000),
    ],
    "H23": [
        _with("H23", prompt=..., prompt_ids=_ids(CONTEXT_TOKENS), max_tokens=1),
        _with("H23", prompt=..., prompt_ids=_ids(CONTEXT_TOKENS - 1), max_tokens=2),
        _with("H23", prompt=..., prompt_ids=_ids(CONTEXT_TOKENS + 1), max_tokens=1),
    ],
    "H24a": [
        *_each("H24", "temperature", 1e308, -1, -1e-9, 100.1),
        *_each("H24", "top_p", 0, 1.1, -0.5),
        *_each("H24", "min_p", -0.1, 1.01),
        *_each("H24", "repetition_penalty", 0, -1, 1e308),
        *_each("H24", "presence_penalty", 100.5, -1e308),
    ],
    "H24b": _NOT_FINITE,
    "H25": _each("H25", "top_k", -2, -(2**31), 0, -1, 258, 2**31 - 1, 2**40),
    "H26": _each("H26", "logprobs", -1, 21, 10**9),
    "H27": [
        *_each("H27", "stop", ["a", "b", "c", "d", "e"], [""], ["x" * 257], ["y" * 256]),
        *_each("H27", "stop", ["x" * 2**19], ["z"] * 5000),
    ],
    "H28": [
        _with("H28", logit_bias={str(token_id): 1.0 for token_id in range(301)}),
        *_each("H28", "logit_bias", {"5": 101}, {"5": -100.5}, {"x": 1}, {"5": 1e308}),
    ],
    "H29": [
        # Over the limit of one MiB by what stands around the text.
        _raw("H29", b'{"prompt": "' + b"a" * 2**20 + b'"}', b"\x12\x80\x80\x40" + b"a" * 2**20)
    ],
    "H30": [
        _raw("H30", b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        _raw("H30", b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}"),
        _raw("H30", b'{"prompt": "a", "temperature": 1e400}'),
        _raw("H30", b"{" + b",".join(b'"k%d":1' % index for index in range(50_000)) + b"}"),
    ],
    "H31": [
        # The message's field 2 is the prompt; 3 bytes that are a surrogate, and no UTF-8.
        _raw("H31", b'{"prompt": "a\\ud800b"}', b"\x12\x05a\xed\xa0\x80b"),
        _raw("H31", b'{"prompt": "a\xff"}', b"\x12\x02a\xff"),
        *_each("H31", "prompt", "nul\0", "\ufffe", "\ufeffbom", "\u202e\u2028"),
    ],
    "H32": [_raw("H32", b'{"prompt": "a"', b"\x12\x7fcut"), _raw("H32", b"", b"\xff")],
    "H33": [
        _with("H33", **{name: value})
        for name, value in (("tools", "[]"), ("grammar", "x"), ("response_format", 1))
    ],
    "H34": [_with("H34", max_token=5), _with("H34", **{"\u202etop_k": 1})],
    "H35": [
        *_each("H35", "max_tokens", "5", 5.0, True, None, [5]),
        *_each("H35", "temperature", "1", False, None),
        *_each("H35", "echo", "true", 1, None),
        *_each("H35", "prompt", 5, ["Once"], None),
    ],
    "H36": [
        *_each("H36", "max_tokens", 0, -1, -(2**31), ...),
        _with("H36", max_tokens=0, echo=True),
        _with("H36", min_tokens=5),
    ],
    "H37": [
        *_each("H37", "prompt", "", " ", "\n\t", ...),
        _with("H37", prompt=..., prompt_ids=[]),
        _with("H37", prompt_ids=[1]),
    ],
    "H38": [
        *_each("H38", "seed", -1, 2**64, 1.5, 2**64 - 1, 0),
        _with("H38", seed=..., temperature=0),
    ],
    "H39": [
        DrawnRequest(hazard="H39", rest_bytes=b'{"prompt": "a"}', rest_headers=(header,))
        for header in (
            ("content-type", "text/plain"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-encoding", "gzip"),
        )
    ],
    "H40": _each("H40", "model", "nobody", "tiny@9", "tiny@", "../../etc/passwd", "a\0b", ""),
    "H42": [
        _with("H42", prompt="a<|endoftext|>b", parse_special_tokens=value)
        for value in (True, False)
    ],
    "H43": [
        DrawnRequest(hazard="H43", body={"prompt": "Once", "seed": 7}, request_id=request_id)
        for request_id in ("the-same", "x" * 10_240, "%0d%0aset-cookie: a")
    ],
    "H95": _each("H95", "timeout_seconds", 0, -1, 1e9),
}
