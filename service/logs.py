"""How the log looks: readable lines on a terminal, one JSON object per line elsewhere.

Never text of a prompt or a continuation. Control characters in any value are escaped.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ["configure_logs", "log_fields"]

_FIELDS = "fields"


def log_fields(logger: logging.Logger, event: str, **fields: object) -> None:
    """One structured record: an event and its figures."""
    logger.info(event, extra={_FIELDS: fields})


def configure_logs() -> None:
    """Send everything to standard error, in the form that fits where that leads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ReadableFormatter() if sys.stderr.isatty() else _JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _ReadableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        words = [time, *([] if record.levelno == logging.INFO else [record.levelname.lower()])]
        words.append(_escaped(record.getMessage()))
        words += [
            f"{name}={_escaped(str(value))}"
            for name, value in _fields_of(record).items()
            if value is not None
        ]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    return getattr(record, _FIELDS, {})


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1] if not text.isprintable() else text
