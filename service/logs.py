"""How the log looks: readable lines on a terminal, one JSON object per line elsewhere.

Never text of a prompt or a continuation; of an exception its types and places, not its words, which
may quote one. Control characters in any value are escaped. A blocked sink blocks nobody.
"""

import atexit
import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from service.log_writer import LogWriter

__all__ = ["LogForm", "LogLevel", "configure_logs", "log_fields", "num_dropped_records"]

LogForm = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

FLUSH_SECONDS = 1.0
_FIELDS = "fields"
_writers: list[LogWriter] = []

_ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def log_fields(
    logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: object
) -> None:
    """One structured record: an event and its figures."""
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={_FIELDS: fields})


def configure_logs(
    *, level: LogLevel = "info", form: LogForm = "auto", source: str | None = None
) -> None:
    """Send everything to standard error.

    Args:
        level: The least that is logged.
        form: "auto" is text on a terminal and JSON elsewhere.
        source: Which process speaks, where it is not the front.
    """
    is_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = _Handler(LogWriter(sys.stderr.fileno()))
    handler.setFormatter(_ReadableFormatter(source) if is_text else _JsonFormatter(source))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def num_dropped_records() -> int:
    """Records that this process could not write."""
    return sum(writer.num_dropped for writer in _writers)


class _Handler(logging.Handler):
    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        _writers.append(writer)
        atexit.register(writer.close, timeout_seconds=FLUSH_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record))
        except Exception:
            # A record that cannot be formatted must not end the request that it tells of.
            self._writer.num_dropped += 1


class _JsonFormatter(logging.Formatter):
    def __init__(self, source: str | None) -> None:
        super().__init__()
        self._source = {} if source is None else {"source": source}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._source,
            "event": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = _exception_of(record.exc_info)
        return json.dumps(line, default=str)


class _ReadableFormatter(logging.Formatter):
    def __init__(self, source: str | None) -> None:
        super().__init__()
        self._source = [] if source is None else [f"{source}:"]

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        words = [time, *([] if record.levelno == logging.INFO else [record.levelname.lower()])]
        words += [*self._source, _escaped(record.getMessage())]
        words += [
            f"{name}={_escaped(str(value))}"
            for name, value in _fields_of(record).items()
            if value is not None
        ]
        if record.exc_info:
            words += ["".join(f"\n    {_escaped(line)}" for line in _exception_of(record.exc_info))]
        return " ".join(words)


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    return getattr(record, _FIELDS, {})


def _exception_of(info: _ExceptionInfo) -> list[str]:
    """Where an exception and its causes were raised; without their texts."""
    lines: list[str] = []
    _, error, _ = info
    while error is not None:
        lines.append(type(error).__qualname__)
        lines += [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__, limit=-20)
        ]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1] if not text.isprintable() else text
