"""`python -m service.engine SETTINGS [spare]`, started by the supervisor only.

A spare imports everything in idle time. That takes 40 ms of processor time, which requests would wait for otherwise, so
nothing is imported here that can be left to that time.
"""

import sys
from functools import partial
from importlib import import_module

from models.process.idle import in_idle_time

if __name__ == "__main__":
    is_spare = "spare" in sys.argv[2:]
    load = partial(import_module, "service.engine.process")
    process = in_idle_time(load) if is_spare else load()
    process.main(sys.argv[1], is_spare=is_spare)
