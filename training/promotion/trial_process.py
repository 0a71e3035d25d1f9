"""A service that ends with the job that started it: `python -m training.promotion.trial_process PID`."""

import runpy
import signal
import sys

from models.process.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent(signal.SIGKILL, int(sys.argv.pop(1)))
    runpy.run_module("service.__main__", run_name="__main__")
