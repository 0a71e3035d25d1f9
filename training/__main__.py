from models.process.interrupt import end_at_once, handle_interrupt

handle_interrupt(end_at_once)

import training.cli.retrain  # noqa: E402, F401 - its commands; a Ctrl-C while these are imported is handled, too
from training.cli.app import main  # noqa: E402

main(prog_name="python -m training")
