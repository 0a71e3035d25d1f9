"""libtiff, which Pillow uses, prints what is wrong with a file to standard error, past Python; here it is silenced."""

import contextlib
import ctypes
from pathlib import Path

from PIL import Image


def loaded_libraries() -> set[str]:
    """Paths of every libtiff in this process; of none where Pillow has it built in, or where there is no /proc."""
    assert Image.core  # which loads it, even where Python puts imports off until they are used
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    paths = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return {path for path in paths if Path(path).name.startswith("libtiff")}


def silence() -> None:
    """Drop libtiff's own messages; Pillow's exceptions say what matters."""
    for path in loaded_libraries():
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)
            for set_handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                set_handler.restype = ctypes.c_void_p
                set_handler(None)
