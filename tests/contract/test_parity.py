"""A thin run of campaign 1 (`make campaign-parity`): the same answer in five ways."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from campaigns.callers.parity_callers import Choice, Outcome
from campaigns.cases.random_requests import BROKEN, DrawnRequest, draw_requests
from campaigns.live.server_process import running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.parity import CONTEXT_TOKENS, compare, run_parity, server_arguments

SEED = 3
REQUEST = DrawnRequest(hazard="valid", body={"prompt": "a", "seed": 1})
ANSWER = Outcome(choices={0: Choice("ab", [1, 2], "length")}, usage=(1, 2, 3), model="tiny@1 x")


def test_random_requests_have_the_same_answer_in_five_ways(tmp_path: Path) -> None:
    folder = publish_tiny_model(tmp_path / "tiny", context_tokens=CONTEXT_TOKENS)
    with running_server(*server_arguments(folder)) as server:
        findings = asyncio.run(run_parity(server, folder, draw_requests(SEED, number=15)))
    assert not findings.differences, SEED
    assert findings.num_answers >= 15 * 4
    assert findings.paths["prefix hits (tokens)"] > 0
    assert {"length", "invalid_value"} <= set(findings.verdicts)


def test_the_campaign_draws_every_line_of_group_c() -> None:
    drawn = {request.hazard for request in draw_requests(SEED, number=3 * len(BROKEN))}
    # H41 is about time, which no answer shows; H44, the field at fault, is in every comparison.
    numbers = set(range(20, 45)) - {41, 44}
    assert drawn >= {f"H{number}" for number in numbers}


@pytest.mark.parametrize(
    "other",
    [
        replace(ANSWER, status="INVALID_ARGUMENT"),
        replace(ANSWER, code="invalid_value"),
        replace(ANSWER, field_name="prompt"),
        replace(ANSWER, choices={0: Choice("aB", [1, 2], "length")}),
        replace(ANSWER, choices={0: Choice("ab", [1, 3], "length")}),
        replace(ANSWER, choices={0: Choice("ab", [1, 2], "stop")}),
        replace(ANSWER, choices={0: Choice("ab", [1, 2], "length", [(1, b"a", -1.0, 1, ())])}),
        replace(ANSWER, choices={}),
        replace(ANSWER, usage=(1, 1, 2)),
        replace(ANSWER, parameters={"seed": 1}),
        replace(ANSWER, model="tiny@2 x"),
    ],
)
def test_whatever_differs_is_noticed(other: Outcome) -> None:
    assert compare(REQUEST, {"one": ANSWER, "two": ANSWER}) == []
    (line,) = compare(REQUEST, {"one": ANSWER, "two": other})
    assert "two differs from one" in line
