"""The exported bundle: the one contract between training and service.

    exports/<model>/<version>/            version: an integer; TensorFlow Serving can load this directory as it is
        saved_model.pb variables/ assets/
        assets.extra/
            manifest.json                 written last: see `Manifest`; sha256 of every other file
            labels.txt                    line i names class i
            golden/                       a few encoded images, and probabilities.json: what they must get
            report.html                   how good this model is
            tf_serving_warmup_requests    TensorFlow Serving's own warm-up file
    exports/<model>/live.json             which version is live and which was before
    exports/<model>/history.jsonl         every change of the live pointer, oldest first

A version appears by one rename and the pointer changes by one rename, so that a kill at any instant leaves the
old state or the new one. Nothing in here executes what it reads.
"""

import contextlib
import fcntl
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.durable import fsync_path, fsync_tree, sha256, write_durably
from models.preprocessing import InputSpec

FORMAT = 1  # of the manifest
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MANIFEST = Path("assets.extra/manifest.json")
LABELS = Path("assets.extra/labels.txt")
GOLDEN = Path("assets.extra/golden")
LIVE = "live.json"
STAGING_PREFIX = ".staging-"  # no integer, so that nobody takes it for a version


class BrokenBundle(ValueError):
    """A bundle that must not be served; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        model: name under which it is published.
        architecture: name in `models.registry`.
        class_names: class i is `class_names[i]`.
        input_spec: what `serving_default` takes, and how an image gets there.
        metrics: measured on the untouched test split.
        temperature: by which the logits are divided inside the graph.
        mirrored: the logits are the mean of the image's and of its mirror image's, inside the graph too.
        drawing: how a drawing is made into an image like those of the data set; None where nobody draws them.
        lineage: data fingerprint, split, configuration, git revision, library versions.
        files: sha256 of every other file, by its path inside the bundle.
    """

    model: str
    architecture: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    metrics: dict[str, Any]
    temperature: float = 1.0
    mirrored: bool = False
    drawing: dict[str, Any] | None = None
    lineage: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Manifest":
        known = {**value, "input_spec": InputSpec(**value["input_spec"])}
        class_names, files = tuple(value["class_names"]), dict(value["files"])
        if not all(isinstance(name, str) for name in class_names):
            raise ValueError(f"class_names is {list(class_names)[:5]}")
        return cls(**{**known, "class_names": class_names, "files": files})


@dataclass(frozen=True, slots=True)
class LivePointer:
    """Which versions a model's traffic goes to; None where there is none."""

    live: int | None = None
    previous: int | None = None
    canary: int | None = None
    shadow: int | None = None


# Writing and reading one bundle


def check_model_name(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"No model can be called {name!r}: use 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit."
        )
    return name


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Seal a bundle: labels, then the manifest with the checksum of every file, all of it on the disk."""
    write_durably(bundle / LABELS, "".join(f"{name}\n" for name in manifest.class_names))
    files = {path.relative_to(bundle).as_posix(): sha256(path) for path in files_of(bundle)}
    sealed = Manifest.from_json({**manifest.to_json(), "files": files})
    write_durably(bundle / MANIFEST, json.dumps(sealed.to_json(), indent=2, ensure_ascii=False) + "\n")
    fsync_tree(bundle)


def read_manifest(bundle: Path) -> Manifest:
    """The manifest alone; `verify` also compares the checksums.

    Raises:
        BrokenBundle: it is missing, or does not say what a manifest says.
    """
    try:
        value = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
        if value["format"] == FORMAT:
            return Manifest.from_json(value)
    except FileNotFoundError:
        raise BrokenBundle(f"{bundle} has no {MANIFEST.name}; export again or delete it.") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BrokenBundle(f"{bundle / MANIFEST} is no manifest ({error}); export again or delete it.") from error
    raise BrokenBundle(
        f"{bundle} has manifest format {value['format']}, and this version of Striate reads {FORMAT}; "
        "export again or delete it."
    )


def verify(bundle: Path) -> Manifest:
    """The manifest of a bundle whose every file is there, is what was written, and is listed.

    Raises:
        BrokenBundle: anything is missing, altered, added, or a link.
    """
    manifest = read_manifest(bundle)
    found = {path.relative_to(bundle).as_posix(): path for path in files_of(bundle)}
    missing, extra = manifest.files.keys() - found.keys(), found.keys() - manifest.files.keys()
    altered = [name for name in manifest.files.keys() & found.keys() if sha256(found[name]) != manifest.files[name]]
    for what, names in (("lacks", missing), ("has unlisted", extra), ("has altered", altered)):
        if names:
            raise BrokenBundle(f"{bundle} {what} {', '.join(sorted(names)[:5])}; export again or delete it.")
    if "saved_model.pb" not in found:
        raise BrokenBundle(f"{bundle} has no saved_model.pb; export again or delete it.")
    check_class_names(bundle, manifest.class_names)
    return manifest


def check_class_names(bundle: Path, names: tuple[str, ...]) -> None:
    if len(names) < 2 or len(set(names)) != len(names):
        raise BrokenBundle(
            f"{bundle} names its classes {list(names)[:10]}; there must be two or more, all different; "
            "export again or delete it."
        )
    if (bundle / LABELS).read_text(encoding="utf-8") != "".join(f"{name}\n" for name in names):
        raise BrokenBundle(f"{bundle / LABELS} differs from the manifest's class names; export again or delete it.")


def read_golden(bundle: Path) -> list[tuple[bytes, list[float]]]:
    """(encoded image, probabilities it must get), for each golden image."""
    rows = json.loads((bundle / GOLDEN / "probabilities.json").read_text(encoding="utf-8"))
    return [((bundle / GOLDEN / row["file"]).read_bytes(), row["probabilities"]) for row in rows]


def files_of(bundle: Path) -> list[Path]:
    """Every file in a bundle but its manifest, sorted.

    Raises:
        BrokenBundle: something in it is neither a plain file nor a directory.
    """
    paths = sorted(bundle.rglob("*"))
    odd = [path for path in paths if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if odd:
        raise BrokenBundle(f"{odd[0]} is no plain file, and a bundle holds nothing else; export again or delete it.")
    return [path for path in paths if path.is_file() and path != bundle / MANIFEST]


# Publishing


def publish(
    bundle: Path, exports: Path, *, make_live: bool = True, on_step: Callable[[str], None] = lambda step: None
) -> int:
    """Copy a sealed bundle to `exports/<model>/<version>` under the next free number; returns that number.

    Args:
        make_live: point the live pointer at it too.
        on_step: called between steps with the name of the one just done; tests kill the process in it.

    Raises:
        BrokenBundle: the copy does not verify; nothing was published.
    """
    model = check_model_name(read_manifest(bundle).model)
    home = exports / model
    home.mkdir(parents=True, exist_ok=True)
    with locked(home):
        collect_garbage(home)
        before = read_live(home)
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=home))
        try:
            on_step("staged")
            copy_tree(bundle, staging)
            staging.chmod(0o755)  # mkdtemp makes it private, and the service may be another user
            on_step("copied")
            verify(staging)
            fsync_tree(staging)
            on_step("verified")
            version = claim_version(home)
            staging.rename(home / str(version))
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync_path(home)
        on_step("renamed")
        if make_live:
            point_live(home, version, on_step=on_step)
        elif not (home / LIVE).exists():  # without a pointer the newest version would be live
            write_durably(home / LIVE, json.dumps(asdict(before), indent=2) + "\n")
    return version


def copy_tree(source: Path, target: Path) -> None:
    """
    Raises:
        OSError: the first fault; shutil would go on and raise a list of as many as there are files.
    """
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        copy.mkdir() if path.is_dir() else shutil.copyfile(path, copy)


def set_live(exports: Path, model: str, version: int) -> None:
    """Send a model's traffic to a version that is there: promotion and rollback alike.

    Raises:
        BrokenBundle: the version is missing or does not verify; the pointer stays.
    """
    home = exports / check_model_name(model)
    if version not in list_versions(home):
        known = ", ".join(map(str, list_versions(home))) or "none"
        raise BrokenBundle(f"{home} has no version {version}; it has {known}.")
    verify(home / str(version))
    with locked(home):
        point_live(home, version)


def point_live(home: Path, version: int, *, on_step: Callable[[str], None] = lambda step: None) -> None:
    before = read_live(home)
    previous = before.previous if before.live == version else before.live
    after = LivePointer(live=version, previous=previous)
    write_durably(home / LIVE, json.dumps(asdict(after), indent=2) + "\n")
    on_step("pointed")
    change = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **asdict(after)}
    history = home / "history.jsonl"
    before_it = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    write_durably(history, "\n".join([*before_it, json.dumps(change), ""]))
    on_step("recorded")


def read_live(home: Path) -> LivePointer:
    """The pointer in `exports/<model>`; without one, the newest version is live.

    Raises:
        BrokenBundle: there is a pointer that cannot be read.
    """
    path = home / LIVE
    try:
        return LivePointer(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return LivePointer(live=max(list_versions(home), default=None))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BrokenBundle(f"{path} is no live pointer ({error}); publish again or delete it.") from error


def list_models(exports: Path) -> list[str]:
    """Names of the models that have a directory in `exports`, sorted; [] where there is no such directory."""
    if not exports.is_dir():
        return []
    return sorted(path.name for path in exports.iterdir() if MODEL_NAME.fullmatch(path.name) and path.is_dir())


def list_versions(home: Path) -> list[int]:
    """Numbers of the versions in `exports/<model>`, ascending; whether they are sound is for `verify` to say."""
    names = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))


def claim_version(home: Path) -> int:
    """One more than any version there, or ever claimed: a number is never used twice."""
    claimed = home / ".claimed"
    last = int(claimed.read_text()) if claimed.exists() else 0
    version = max([last, *list_versions(home)]) + 1
    write_durably(claimed, f"{version}\n")
    return version


def collect_garbage(home: Path) -> None:
    """Remove what publishes that were killed left behind; under the lock, so none is another's work."""
    for path in home.glob(".*-*"):  # staging directories, and the temporary files of write_durably
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """One writer at a time per model; the kernel frees the lock of a process that dies."""
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
