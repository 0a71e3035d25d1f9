"""A user's own modules, which happen to be called like ours."""

from pathlib import Path

NAMES = ("models", "service", "training")
FOREIGN = "raise SystemExit('a module of the user was imported')\n"


def write_foreign_modules(folder: Path) -> None:
    """`models.py`, `service/` and `training/`, none of which may be imported."""
    folder.mkdir(exist_ok=True)
    (folder / f"{NAMES[0]}.py").write_text(FOREIGN)
    for name in NAMES[1:]:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(FOREIGN)
