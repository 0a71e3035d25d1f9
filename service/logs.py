"""Logs on standard error: one line an event, whatever a client put into it; as JSON or to be read."""

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

MAX_MESSAGE = 4000  # characters
FIELDS = "fields"  # attribute of a log record: what it says beside its message


class Line(NamedTuple):
    """One event: when (seconds since 1970), by whom, and what beside its message it says."""

    created: float
    level: str
    logger: str
    pid: int | None
    message: str
    fields: dict[str, Any]


class Formatter(logging.Formatter):
    """Formats what logging gives it, and lines that are there already."""

    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        fields = getattr(record, FIELDS, {})
        line = Line(record.created, record.levelname, record.name, record.process, record.getMessage(), fields)
        return self.format_line(line, traceback)

    def format_line(self, line: Line, traceback: str = "") -> str:
        raise NotImplementedError


class Lines(Formatter):
    """`time LEVEL logger[pid] message key=value ...`; control characters are escaped."""

    def format_line(self, line: Line, traceback: str = "") -> str:
        fields = "".join(f" {key}={value}" for key, value in line.fields.items())
        message = f"{line.message[:MAX_MESSAGE]}{fields}"
        text = f"{timestamp(line.created)} {line.level} {line.logger}[{line.pid}] {message}"
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        return f"{text}\n{traceback}" if traceback else text


class JsonLines(Formatter):
    def format_line(self, line: Line, traceback: str = "") -> str:
        said: dict[str, Any] = {
            "time": timestamp(line.created),
            "level": line.level,
            "logger": line.logger,
            "pid": line.pid,
            "message": line.message[:MAX_MESSAGE],
            **line.fields,
        }
        if traceback:
            said["traceback"] = traceback
        try:
            return msgspec.json.encode(said).decode()
        except UnicodeEncodeError:  # half of a surrogate pair, as in the name of a file that is not UTF-8
            return ascii(said)


class TogetherHandler(logging.StreamHandler[Any]):
    """Writes to standard error; several lines at once where there are several."""

    def __init__(self, formatter: Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._format_line = formatter.format_line

    def emit_all(self, lines: Iterable[Line]) -> None:
        self.acquire()
        try:
            self.stream.write("".join(f"{self._format_line(line)}{self.terminator}" for line in lines))
            self.flush()
        finally:
            self.release()


def log_together(lines: list[Line]) -> None:
    """Log what happened a moment ago."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, TogetherHandler):
            handler.emit_all(lines)


def timestamp(created: float) -> str:
    return f"{second(int(created))}.{int(created % 1 * 1000):03}Z"


@lru_cache(maxsize=4)
def second(created: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))


def configure_logging(level: str, log_format: str) -> None:
    handler = TogetherHandler(JsonLines() if log_format == "json" else Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
