"""gunicorn's master process. `python -m service.worker` is started by the supervisor only.

It asks for its end with the supervisor's before gunicorn is imported, which takes a quarter of a second. The engines
end then, too, so that there would be no answers: all ends at once, and the port is free for the next service.
"""

import signal
import sys
from pathlib import Path

from models.process.parent import die_with_parent

CONFIGURATION = Path(__file__).with_name("gunicorn_conf.py")


def main(supervisor: int) -> None:
    die_with_parent(signal.SIGKILL, supervisor)
    from gunicorn.app.wsgiapp import run

    sys.argv[1:] = ["--config", str(CONFIGURATION)]
    run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
