"""What gunicorn's workers load: the application, from the environment that the supervisor gave them."""

import os
from pathlib import Path

from service.config import Config
from service.worker.app import create_app

application = create_app(Config.from_environment(os.environ), Path(os.environ["STRIATE_RUNTIME"]))
