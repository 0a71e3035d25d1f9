"""Settings from a TOML file and from files of secrets, brought into the form of environment variables.

    SERVICE_CONFIG=/etc/striate/service.toml     names the file; its keys are the settings' names in small letters
    SERVICE_ADMIN_KEYS_FILE=/run/secrets/admin   names a file whose text is the value of SERVICE_ADMIN_KEYS

What the environment itself says comes before both, as a container's `--env` does before what is in its image.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from service.config import PREFIX, REMOVED, BadSetting, Config, variable

CONFIG = f"{PREFIX}CONFIG"
SECRET_FILE = "_FILE"
SETTINGS = {field.name: field for field in fields(Config)}
SECRETS = tuple(variable(field) for field in SETTINGS.values() if field.metadata["secret"])
KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class Gathered:
    """An environment that has every setting, and where those came from that the environment had not."""

    environment: dict[str, str]
    sources: dict[str, str]  # {variable: file}


def gather(environment: Mapping[str, str]) -> Gathered:
    """
    Raises:
        BadSetting: a file cannot be read, is no TOML, or has a key or a value that is not accepted.
    """
    complete, sources = dict(environment), {}
    for name, (value, path) in {**read_settings_file(environment), **read_secrets(environment)}.items():
        if name not in environment:
            complete[name], sources[name] = value, path
    for name in (CONFIG, *(secret + SECRET_FILE for secret in SECRETS)):
        complete.pop(name, None)  # it has been read: a file that changes later does not change a running service
    return Gathered(complete, sources)


def take_up() -> None:
    """Gather the settings into this process's environment, which its children get.

    Raises:
        BadSetting: as `gather`.
    """
    gathered = gather(os.environ)
    os.environ.clear()
    os.environ.update(gathered.environment)


def read_settings_file(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """{variable: (value, file)} of the TOML file; empty where SERVICE_CONFIG names none."""
    if not environment.get(CONFIG):
        return {}
    path = Path(environment[CONFIG])
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{CONFIG} names {path}, which cannot be read ({error}).") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{path} is no TOML: {error}.") from None
    removed = {name.removeprefix(PREFIX).lower() for name in REMOVED}
    return {
        PREFIX + key.upper(): (as_text(path, key, value), str(path))
        for key, value in said.items()
        if key not in removed
    }


def as_text(path: Path, key: str, value: Any) -> str:
    """A value of the file, as a variable has it.

    Raises:
        BadSetting: there is no such setting, or the value is of another kind than it.
    """
    field = SETTINGS.get(key)
    if field is None:
        close = difflib.get_close_matches(key.lower(), SETTINGS, n=1)
        meant = f" Is {close[0]} meant?" if close else ""
        raise BadSetting(f"{path} has {key}, and no setting is called that.{meant} `striate serve --help` lists them.")
    wanted = field.type if field.type in KINDS else str
    if wanted is str and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        expected = KINDS.get(wanted, "text in quotes")
        raise BadSetting(f"{path} has {key} = {value!r}; it has to be {expected}.")
    return str(int(value)) if wanted is bool else repr(value) if wanted is float else str(value)


def read_secrets(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """{variable: (value, file)} of the secrets that have a file; lines of it are like commas.

    Raises:
        BadSetting: a file cannot be read, or a secret is given in both ways.
    """
    found = {}
    for name in SECRETS:
        path = environment.get(name + SECRET_FILE)
        if not path:
            continue
        if environment.get(name):
            raise BadSetting(f"{name} and {name}{SECRET_FILE} are both set: leave one of the two out.")
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"{name}{SECRET_FILE} names {path}, which cannot be read ({error}).") from None
        found[name] = (",".join(line.strip() for line in lines if line.strip()), path)
    return found
