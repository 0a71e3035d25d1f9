"""The command line of the service: settings are variables, so that containers and shells set them alike."""

import os
import sys
from dataclasses import fields

import click

from service.config import PREFIX, BadSetting, Config, check_address

SETTINGS = "\n".join(f"  {PREFIX}{field.name.upper()}={field.default}" for field in fields(Config))


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve the models in exports/ over HTTP until SIGTERM or Ctrl-C.",
    epilog=f"\b\nVariables and their defaults:\n{SETTINGS}",
)
def main() -> None:
    try:
        config = Config.from_environment(os.environ)
        check_address(config)
    except BadSetting as error:
        raise click.ClickException(str(error)) from error
    from service.logs import configure_logging
    from service.supervisor import Supervisor

    configure_logging(config.log_level)
    sys.exit(Supervisor(config).run())
