"""What gunicorn's workers load: the application, from the environment that the supervisor gave them."""

import os
from pathlib import Path

from service.app import create_app
from service.config import Config

application = create_app(Config.from_environment(os.environ), Path(os.environ["STRIATE_RUNTIME"]))
