"""The event log: appended line by line, readable after a crash, honest after a resume."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.run_log.events import End, Evaluation, LogGap, Note, Sample, Start, Step
from training.run_log.facts import EventError, JsonValue
from training.run_log.log import EventLog, EventLogError, read_history

START: dict[str, JsonValue] = {"command": "nextword-train --corpus a.txt", "name": "a"}


def step_facts(step: int, *, loss: float = 2.0) -> dict[str, JsonValue]:
    return {
        "step": step,
        "num_steps": 10,
        "loss": loss,
        "learning_rate": 0.001,
        "tokens": step * 100,
        "tokens_per_second": 100.0,
        "elapsed_seconds": float(step),
    }


def evaluation_facts(step: int, *, is_best: bool = True) -> dict[str, JsonValue]:
    return {"step": step, "loss": 3.0, "bits_per_byte": 1.5, "is_best": is_best}


def steps_of(path: Path) -> list[int]:
    return [
        timed.event.step for timed in read_history(path).events if isinstance(timed.event, Step)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_every_event_is_one_line_of_json_with_its_kind_and_time(path: Path) -> None:
    with EventLog(path) as log:
        log.append("start", START)
        log.append("sample", {"step": 1, "prompt": "a\nb", "text": "c\u2028d\r\ne"})
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["event"] for line in lines] == ["start", "sample"]
    assert all(json.loads(line)["time"].endswith("+00:00") for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(text=st.text(st.characters(exclude_categories=())))
def test_any_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.jsonl"
    path.unlink(missing_ok=True)
    with EventLog(path) as log:
        log.append("sample", {"step": 1, "prompt": "", "text": text})
    [timed] = read_history(path).events
    assert isinstance(timed.event, Sample)
    assert timed.event.text == text


def test_losses_that_are_not_finite_come_back_and_the_file_stays_plain_json(path: Path) -> None:
    with EventLog(path) as log:
        for loss in (math.nan, math.inf, -math.inf):
            log.append("step", step_facts(1, loss=loss))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    losses = [t.event.loss for t in read_history(path).events if isinstance(t.event, Step)]
    assert math.isnan(losses[0])
    assert losses[1:] == [math.inf, -math.inf]


def test_a_torn_last_line_is_skipped_and_the_next_session_begins_on_a_line_of_its_own(
    path: Path,
) -> None:
    with EventLog(path) as log:
        log.append("step", step_facts(1))
        log.append("step", step_facts(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert steps_of(path) == [1]
    assert read_history(path).num_unreadable_lines == 1
    with EventLog(path) as log:
        log.append("step", step_facts(3))
    assert steps_of(path) == [1, 3]
    assert path.read_bytes().startswith(whole[:-20])


def test_a_writer_killed_at_any_moment_leaves_whole_lines_and_at_most_one_torn(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from training.run_log.log import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "for step in range(1, 10**9):\n"
        "    log.append('sample', {'step': step, 'prompt': '', 'text': 'x' * (step % 5000)})\n"
        "    if step == 100: print('running', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        process.send_signal(signal.SIGKILL)
    history = read_history(path)
    steps = [timed.event.step for timed in history.events if isinstance(timed.event, Sample)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 100
    assert history.num_unreadable_lines <= 1


def test_what_was_logged_beyond_the_resumed_step_no_longer_counts(path: Path) -> None:
    with EventLog(path) as log:
        log.append("start", START)
        for step in range(1, 7):
            log.append("step", step_facts(step))
        log.append("evaluation", evaluation_facts(4))
        log.append("evaluation", evaluation_facts(6))
        log.append("end", {"reason": "interrupted", "steps": 6})
    size = path.stat().st_size
    with EventLog(path) as log:
        log.append("start", {**START, "command": "nextword-train --resume"})
        log.append("resume", {"step": 4})
        for step in range(5, 8):
            log.append("step", step_facts(step, loss=1.0))
    history = read_history(path)
    events = [timed.event for timed in history.events]
    assert steps_of(path) == [1, 2, 3, 4, 5, 6, 7]
    assert [e.loss for e in events if isinstance(e, Step)] == [2.0] * 4 + [1.0] * 3
    assert [e.step for e in events if isinstance(e, Evaluation)] == [4]
    assert not [e for e in events if isinstance(e, End)]
    assert len([e for e in events if isinstance(e, Start)]) == 2
    assert history.num_superseded_steps == 2
    assert path.stat().st_size > size


def test_a_second_session_that_begins_from_nothing_supersedes_the_first(path: Path) -> None:
    with EventLog(path) as log:
        log.append("start", START)
        log.append("step", step_facts(1))
        log.append("step", step_facts(2))
        log.append("start", START)
        log.append("step", step_facts(1, loss=9.0))
    events = [timed.event for timed in read_history(path).events]
    assert [event.loss for event in events if isinstance(event, Step)] == [9.0]


def test_evaluations_are_on_the_disk_when_append_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    really = os.fsync

    def record(descriptor: int) -> None:
        synced.append(descriptor)
        really(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with EventLog(path) as log:
        log.append("step", step_facts(1))
        assert not synced
        log.append("evaluation", evaluation_facts(1))
        assert len(synced) == 1


@pytest.mark.parametrize(
    ("kind", "facts", "named"),
    [
        ("stpe", step_facts(1), "stpe"),
        ("step", {"step": 1}, "num_steps"),
        ("step", {**step_facts(1), "loss": "low"}, "loss"),
        ("step", {**step_facts(1), "step": 1.5}, "step"),
        ("step", {**step_facts(1), "step": True}, "step"),
        ("surprise", {"step": 1, "text": "a b", "tokens": ["a", " b"], "bits": [1.0]}, "2 tokens"),
        ("tokenizer", {"kind": "bytes", "vocab_size": 257, "examples": [["a"]]}, "examples"),
    ],
    ids=["kind", "missing", "type", "fraction", "flag", "lengths", "pairs"],
)
def test_facts_that_do_not_fit_are_refused_by_name_and_nothing_is_written(
    path: Path, kind: str, facts: dict[str, JsonValue], named: str
) -> None:
    with EventLog(path) as log, pytest.raises(EventError, match=named):
        log.append(kind, facts)
    assert path.read_bytes() == b""


@contextmanager
def full_at(size: int) -> Generator[None]:
    """Lets no file of this process grow beyond `size`, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_after_a_full_disk_the_log_says_how_many_events_are_missing(path: Path) -> None:
    with EventLog(path) as log:
        log.append("step", step_facts(1))
        with full_at(path.stat().st_size + 10):
            for step in (2, 3):
                with pytest.raises(EventLogError):
                    log.append("step", step_facts(step))
        log.append("step", step_facts(4))
    history = read_history(path)
    assert steps_of(path) == [1, 4]
    assert [t.event for t in history.events if isinstance(t.event, LogGap)] == [LogGap(events=2)]
    assert history.num_unreadable_lines == 1


def test_a_log_that_cannot_be_opened_or_read_is_one_clear_line(tmp_path: Path) -> None:
    missing = tmp_path / "absent" / "log.jsonl"
    for action in (EventLog, read_history):
        with pytest.raises(EventLogError) as caught:
            action(missing)
        assert str(missing) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_whole_line_that_is_not_ours_is_named_by_its_number(path: Path) -> None:
    path.write_text(
        '{"event": "note", "time": "now", "text": "a"}\n{"loss": 3}\n', encoding="utf-8"
    )
    with pytest.raises(EventLogError, match="line 2"):
        read_history(path)


def test_unknown_extra_facts_stay_in_the_file_and_do_not_disturb(path: Path) -> None:
    with EventLog(path) as log:
        log.append("note", {"text": "a", "colour": "blue"})
    assert json.loads(path.read_bytes())["colour"] == "blue"
    assert read_history(path).events[0].event == Note(text="a")
