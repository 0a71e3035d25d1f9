"""The container's health check, `python -m service.probe`: ends with 0 if the service here says that it is ready."""

import os
import sys
import urllib.request

from service.config import BadSetting, Config
from service.config_file import gather

TIMEOUT_S = 9.0


def main() -> None:
    try:
        url = f"http://127.0.0.1:{Config.from_environment(gather(os.environ).environment).port}/readyz"
    except BadSetting as error:
        sys.exit(str(error))
    try:
        urllib.request.urlopen(url, timeout=TIMEOUT_S).close()
    except OSError as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main()
