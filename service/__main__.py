from models.process.interrupt import end_at_once, handle_interrupt

handle_interrupt(end_at_once)

from service.cli.app import main  # noqa: E402 - a Ctrl-C while this is imported is handled, too

main(prog_name="python -m service")
