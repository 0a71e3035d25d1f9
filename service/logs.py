"""Logs on standard error: one line an event, whatever a client put into it; as JSON or to be read."""

import json
import logging
import time
from typing import Any

MAX_MESSAGE = 4000  # characters
FIELDS = "fields"  # attribute of a log record: what it says beside its message


class Lines(logging.Formatter):
    """`time LEVEL logger[pid] message key=value ...`; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()[:MAX_MESSAGE]
        fields = "".join(f" {key}={value}" for key, value in getattr(record, FIELDS, {}).items())
        line = f"{timestamp(record)} {record.levelname} {record.name}[{record.process}] {message}{fields}"
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage()[:MAX_MESSAGE],
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"


def configure_logging(level: str, log_format: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
