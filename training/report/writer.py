"""Writes the report of a run into a folder: the page and the pictures."""

import os
from pathlib import Path

from training.report.charts import loss_chart
from training.report.drawing import png
from training.report.page import report_page
from training.report.palette import DARK, LIGHT
from training.report.run_facts import read_run_facts


def write_report(
    log_path: Path, directory: Path, *, command: str | None = None
) -> tuple[Path, ...]:
    """Writes report.html and, once there is a curve, loss.png and loss-dark.png.

    The same log gives the same bytes. Each file appears whole or not at all.

    Args:
        log_path: run/log.jsonl of a run in any state.
        directory: is created where it is absent.
        command: the exact command; None takes the one in the log.

    Returns:
        The files written, report.html first.

    Raises:
        EventLogError: the log cannot be read.
        OSError: the folder cannot be written.
    """
    facts = read_run_facts(log_path)
    directory.mkdir(parents=True, exist_ok=True)
    contents = {"report.html": report_page(facts, command=command).encode("utf-8", "replace")}
    chart = loss_chart(facts)
    if chart is not None:
        contents["loss.png"] = png(chart, LIGHT)
        contents["loss-dark.png"] = png(chart, DARK)
    for name, data in contents.items():
        _write_whole(directory / name, data)
    return tuple(directory / name for name in contents)


def _write_whole(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
