import training.job_cli  # noqa: F401 - its commands
from training.cli import main

main(prog_name="python -m training")
