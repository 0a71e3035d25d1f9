"""TensorFlow's greeting is kept off the screen, and nothing else."""

import os

import pytest

from models.process.quiet import import_quietly, native_stderr_closed


def test_what_native_code_writes_meanwhile_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with native_stderr_closed():
        os.write(2, b"greeting\n")
    os.write(2, b"error\n")
    assert capfd.readouterr().err == "error\n"


def test_standard_error_is_back_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_quietly("no_such_module")
    os.write(2, b"error\n")
    assert capfd.readouterr().err == "error\n"
