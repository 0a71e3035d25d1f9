"""Trainings that are tested in this process export in it as well.

`fit` asks its export in two fresh processes, each of which imports TensorFlow: several seconds of every small training.
That they are fresh, and what their failures become, is tested where whole commands run (`digits_training`) and in
test_export.py; everything else gets the same files from the same functions.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.export import export
from training.export.export import PARITY
from training.export.saved_model import write_saved_model

FRESH = export.in_fresh_process


def in_this_process(module: str, run: Path) -> None:
    from training.export.parity import check

    if module == "training.export.saved_model":
        write_saved_model(run)
    elif module == "training.export.parity":
        (run / PARITY).write_text(json.dumps(check(run)))
    else:
        FRESH(module, run)


@pytest.fixture(scope="session", autouse=True)
def exports_in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "in_fresh_process", in_this_process)
        yield
