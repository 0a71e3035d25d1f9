"""The name of a class: what can be one, and in which form it is kept.

Unicode writes "é" in two ways: as one character (NFC) or as a letter and an accent (NFD, which macOS once gave to all
file names). Both are the same name here: names are kept and compared in NFC, whether they come from a folder, a request
or a bundle.
"""

import unicodedata
from collections.abc import Iterable

from models.errors import UserError
from models.files.folders import is_passed_over

MAX_BYTES = 255  # of a folder's name, on every file system in use
BIDI_CONTROL_CLASSES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # bidirectional classes


class BadClassName(UserError):
    """What cannot be the name of a class; says why and what to do."""


def nfc(name: str) -> str:
    """The form in which names are kept and compared."""
    return unicodedata.normalize("NFC", name)


def all_nfc(names: Iterable[str]) -> tuple[str, ...]:
    """A model's class names in NFC; unchanged if two names of an old model would become equal."""
    names = tuple(names)
    normalised = tuple(map(nfc, names))
    return normalised if len(set(normalised)) == len(set(names)) else names


def check_class_name(name: str) -> str:
    """The name in NFC.

    Raises:
        BadClassName: it cannot name a class, since it has to name a folder and be one line of text.
    """
    name = nfc(name)
    shown = name.encode("utf-8", "backslashreplace").decode()[:100]
    if not name.strip():
        raise BadClassName("The class name is empty. Give the class a name.")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise BadClassName(f"The class name {shown!r} is not valid UTF-8. Rename the class.")
    for character in name:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            raise BadClassName(
                f"The class name {shown!r} has a line break or another control character "
                f"(U+{ord(character):04X}). Rename the class without it."
            )
        if unicodedata.bidirectional(character) in BIDI_CONTROL_CLASSES:
            raise BadClassName(
                f"The class name {shown!r} has an invisible character that changes the direction of text "
                f"(U+{ord(character):04X}). Rename the class without it."
            )
    if "/" in name:
        raise BadClassName(f"The class name {shown!r} has a slash, which no folder's name can have. Use another sign.")
    if name.startswith("."):
        raise BadClassName(f"The class name {shown!r} begins with a dot, as hidden folders do. Rename the class.")
    if is_passed_over(name):
        raise BadClassName(f"The class name {shown!r} is one that operating systems use. Rename the class.")
    if len(name.encode()) > MAX_BYTES:
        raise BadClassName(
            f"The class name {shown!r}... has {len(name.encode())} bytes; at most {MAX_BYTES} are accepted. Shorten it."
        )
    return name


def check_label(label: str) -> str:
    """The label that somebody gave an image, in NFC.

    Raises:
        BadClassName: it cannot name a class, or has blanks around it, which nobody means.
    """
    if label.strip() and label != label.strip():
        raise BadClassName(f"The label {label[:100]!r} has blanks around it. Send it without them.")
    return check_class_name(label)


def look_alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only by case, blanks or invisible characters."""
    groups: dict[str, list[str]] = {}
    for name in names:
        visible = "".join(c for c in name if unicodedata.category(c) not in ("Zs", "Cf"))
        groups.setdefault(nfc(visible.casefold()), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
