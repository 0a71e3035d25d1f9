"""Logs on standard error: one line an event, whatever a client put into it; as JSON or to be read."""

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

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
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # half of a surrogate pair, as in the name of a file that is not UTF-8
            return ascii(line)


class TogetherHandler(logging.StreamHandler[Any]):
    """Writes to standard error; several lines at once where there are several."""

    def emit_all(self, records: Iterable[logging.LogRecord]) -> None:
        self.acquire()
        try:
            self.stream.write("".join(f"{self.format(record)}{self.terminator}" for record in records))
            self.flush()
        finally:
            self.release()


def log_together(records: list[logging.LogRecord]) -> None:
    """Log records that were made earlier."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, TogetherHandler):
            handler.emit_all(records)
        else:
            for record in records:
                handler.handle(record)


def timestamp(record: logging.LogRecord) -> str:
    return f"{second(int(record.created))}.{int(record.msecs):03}Z"


@lru_cache(maxsize=4)
def second(created: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))


def configure_logging(level: str, log_format: str) -> None:
    handler = TogetherHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
