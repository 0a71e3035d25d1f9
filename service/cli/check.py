"""What the service would do with the settings as they are, and what would keep it from that; nothing is started."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from models.bundle.manifest import read_manifest
from models.errors import Failed, UserError
from models.store.default import read_default
from models.store.layout import find_version, published_models
from models.store.live import read_live
from models.store.option import open_exports
from service.config import PREFIX, Config, check_address, split_list, strangers, variable
from service.config_file import Gathered, gather
from service.http.api_keys import SCOPES, read_keys
from service.machine import available_cores, choose_engine
from service.placement.devices import devices_of
from service.telemetry.tracing import check_installed


@dataclass(slots=True)
class Report:
    lines: list[str] = field(default_factory=list)  # what would happen
    warnings: list[str] = field(default_factory=list)  # what an operator is likely not to want
    errors: list[str] = field(default_factory=list)  # what keeps the service from starting, or from answering

    def say(self, heading: str, *sentences: str) -> None:
        self.lines += [f"{heading if number == 0 else '':<10} {line}" for number, line in enumerate(sentences)]

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """An error in the block is one of the report."""
        try:
            yield
        except (UserError, Failed, OSError) as error:
            self.errors.append(str(error))


def check(environment: Mapping[str, str]) -> Report:
    report = Report()
    with report.noting():
        gathered = gather(environment)
        config = Config.from_environment(gathered.environment)
        report.warnings += strangers(gathered.environment)
        report.say("settings", *described_settings(config, gathered))
        for part in (address, access, computation, exports, feedback):
            with report.noting():
                part(report, config)
    return report


def described_settings(config: Config, gathered: Gathered) -> list[str]:
    """Those that are not the defaults, each with where it comes from."""
    shown, lines = config.shown(), []
    for each in fields(Config):
        name = variable(each)
        if getattr(config, each.name) != each.default:
            lines.append(f"{name}={shown[each.name]}, from {gathered.sources.get(name, 'the environment')}")
    return lines or ["all are the defaults"]


def address(report: Report, config: Config) -> None:
    check_address(config)
    report.say("address", f"http://{config.address}, which is free")


def access(report: Report, config: Config) -> None:
    keys = read_keys(config)
    counts = ", ".join(f"{len(keys.of(scope))} {scope}" for scope in SCOPES)
    may = "with a key" if keys.of("predict") else "without a key"
    report.say("access", f"API keys: {counts}; classifying is {may}")
    if config.feedback_open:
        report.warnings.append("Feedback is open: everybody who may classify may label images for training.")


def computation(report: Report, config: Config) -> None:
    check_installed(config)
    engine, why = choose_engine(config.engine)
    cores = available_cores()
    report.say("engine", f"{engine}: {why}", f"{cores} cores, {config.workers or cores} HTTP processes")
    names = ", ".join(device.name for device in devices_of(config))
    engines = f"{config.replicas} engines of each live version" if config.replicas else "one engine on each"
    limit = f"; engines may take {config.memory_bytes:,} bytes of memory" if config.memory_bytes else ""
    report.say("devices", f"{names}; {engines}{limit}")


def exports(report: Report, config: Config) -> None:
    folder = open_exports(config.exports)
    names = published_models(folder)
    if not names:
        report.warnings.append(f"{folder} has no model yet; one that is published there is taken up.")
    default = config.default_model or read_default(folder) or (names[0] if len(names) == 1 else None)
    for name in names:
        with report.noting():
            pointer = read_live(folder / name)
            for part in ("live", "canary", "shadow"):
                version = getattr(pointer, part)
                if version is not None and not pointer.unloaded:
                    find_version(folder, name, version)
                    manifest = read_manifest(folder / name / str(version))
                    what = f"{manifest.architecture}, {len(manifest.class_names)} classes"
                    also = ", the default model" if name == default and part == "live" else ""
                    report.say("models", f"{name} version {version}, {part}{also}: {what}")
            if pointer.unloaded:
                report.say("models", f"{name}, which is unloaded")
    for name in {*split_list(config.required_models), *filter(None, [default])} - {*names}:
        report.errors.append(f"{name} is the default or a required model, and {folder} has no version of it.")


def feedback(report: Report, config: Config) -> None:
    if not config.feedback or not (config.feedback_open or config.keep or config.feedback_keys or config.keys_file):
        report.say("feedback", "none is taken")
        return
    folder = Path(config.feedback)
    check_writable(folder)
    report.say("feedback", f"in {folder}, up to {config.feedback_bytes:,} bytes for each model")


def check_writable(folder: Path) -> None:
    """
    Raises:
        UserError: nothing can be written in the folder, or where it would be made.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"{PREFIX}FEEDBACK is {folder}, where nothing can be written ({error.strerror}).") from None
