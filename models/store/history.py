"""Where a version comes from, for people and programs: what its manifest, its images and the jobs' decisions say."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import IMPORTED, MANIFEST, BrokenBundle, read_images, read_manifest
from models.store.decisions import decision_on, read_decisions
from models.store.layout import check_model_name, existing, find_version, list_models, list_versions
from models.store.live import read_live

SIDES = {1: "train", 2: "val", 3: "test"}
NUM_LATEST = 5  # decisions, or versions, that are shown
FIGURES = ("accuracy", "accuracy_interval", "balanced_accuracy", "expected_calibration_error", "num_images")


def find(exports: Path, name: str) -> tuple[Path, int]:
    """`MODEL`, which means its live version, or `MODEL/VERSION` -> the model's folder and the version.

    Raises:
        BrokenBundle: there is none.
        UserError: no model can be called that.
    """
    model, _, number = name.partition("/")
    home = existing(exports / check_model_name(model))
    if not number:
        live = read_live(home).live
        if live is None:
            raise BrokenBundle(f"{home} has no live version; name one, as {model}/1.")
        return home, live
    if number not in map(str, list_versions(home)):
        known = ", ".join(map(str, list_versions(home))) or "none"
        raise BrokenBundle(f"{home} has no version {number}; it has {known}.")
    return home, int(number)


def find_bundle(path: Path) -> Path:
    """A bundle, as the user named it: its folder, or the directory of the run that made it.

    Raises:
        BrokenBundle: there is no such folder, or it is that of a model or of all models; says which bundles it has.
    """
    if (path / "bundle").is_dir():
        return path / "bundle"
    if not path.is_dir():
        raise BrokenBundle(f"There is no folder {path}. Give a bundle, such as exports/digits/1.")
    if (path / MANIFEST).exists():
        return path
    if versions := list_versions(path):
        listed = ", ".join(str(path / str(version)) for version in versions[-NUM_LATEST:])
        raise BrokenBundle(f"{path} is the folder of a model, not a bundle. Give one of its versions: {listed}.")
    homes = [path / name for name in list_models(path) if list_versions(path / name)]
    if homes:
        bundles = ", ".join(str(home / str(list_versions(home)[-1])) for home in homes[:NUM_LATEST])
        raise BrokenBundle(f"{path} is a folder of models, not a bundle. Give a version of a model, such as {bundles}.")
    return path


def about_version(home: Path, version: int) -> dict[str, Any]:
    """
    Raises:
        BrokenBundle: its manifest cannot be read.
    """
    manifest = read_manifest(home / str(version))
    pointer = read_live(home)
    parts = [part for part in ("live", "previous", "canary", "shadow") if getattr(pointer, part) == version]
    lineage, test = manifest.lineage, manifest.metrics.get("test", {})
    return {
        "model": home.name,
        "version": version,
        "parts": parts,
        "architecture": manifest.architecture,
        "task": manifest.task,
        "engines": list(manifest.engines),
        "class_names": list(manifest.class_names),
        "created_at": lineage.get("created_at"),
        "parent_version": lineage.get("parent_version"),
        "started_from": lineage.get("from"),
        "data": {**lineage.get("data", {}), "images": count_images(home / str(version), manifest.class_names)},
        "input": manifest.input_spec.to_json(),
        "settings": lineage.get("settings", {}),
        "code": {name: lineage.get(name) for name in ("git_revision", "libraries", "machine", "backend")},
        "metrics": {name: test[name] for name in FIGURES if name in test},
        "decision": decision_on(home, version),
    }


def count_images(bundle: Path, class_names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """{class: {side: images}}; empty where the bundle does not say."""
    images = read_images(bundle)
    if not len(images):
        return {}
    cells = images["label"].astype(np.int64) * 4 + images["side"]
    counts = np.bincount(cells, minlength=4 * len(class_names)).reshape(-1, 4).tolist()
    return {
        name: {side: row[number] for number, side in SIDES.items()}
        for name, row in zip(class_names, counts, strict=True)
    }


def sentences(about: dict[str, Any]) -> list[str]:
    """The same for a terminal."""
    data, code, decision = about["data"], about["code"], about["decision"]
    parent, imported = about["parent_version"], about["architecture"] == IMPORTED
    many = ", of which an image may have any number" if about["task"] == "multi_label" else ""
    trained = f"trained from {described_start(about['started_from'])}"
    lines = [
        f"{about['model']} version {about['version']}{', ' + ', '.join(about['parts']) if about['parts'] else ''}",
        f"made        {about['created_at'] or 'at an unknown time'}, {about['architecture']}, "
        f"{len(about['class_names'])} classes{many}",
        f"parent      {'none' if parent is None else f'version {parent}'}, "
        f"{'imported with its weights' if imported else trained}",
        *(["data        unknown: it was trained elsewhere"] if imported else described_data(data)),
        f"code        {code['git_revision'] or 'not from a checkout'}, "
        + ", ".join(f"{name} {version}" for name, version in (code["libraries"] or {}).items()),
        "settings    "
        + ", ".join(f"{name} {plain(value)}" for name, value in about["settings"].items() if name != "augmentation"),
    ]
    figures = about["metrics"]
    if "accuracy" in figures:
        low, high = figures.get("accuracy_interval") or (float("nan"),) * 2
        lines.append(f"test        accuracy {figures['accuracy']:.2%} ({low:.2%} to {high:.2%})")
    if decision is None:
        return [*lines, "decision    none: it was not made by a retraining job"]
    lines.append(
        f"decision    {decision['outcome']} at {decision['at']}, against {champion_of(decision)}: {decision['reason']}"
    )
    rules = (
        f"            {finding['outcome']:<7} {finding['rule']}: {finding['reason']}"
        for finding in decision["findings"]
    )
    return [*lines, *rules]


def plain(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def champion_of(decision: dict[str, Any]) -> str:
    return "nothing" if decision["champion"] is None else f"version {decision['champion']}"


def latest_decisions(home: Path) -> list[str]:
    """What the last jobs came to, those that published nothing too; the newest last."""
    return [f"{d['at']}  {d['outcome']}: {d['reason']}" for d in read_decisions(home)[-NUM_LATEST:]]


def described_start(start: dict[str, Any] | None) -> str:
    if not start:
        return "random weights"
    if start.get("version") is None:  # it was not published, or an older record does not say
        return f"the weights of {start.get('model')} in {start.get('bundle')}"
    return f"the weights of {start['model']} version {start['version']}"


def described_data(data: dict[str, Any]) -> list[str]:
    return [
        f"data        {data.get('source')}, {data.get('train')} to train, {data.get('val')} to validate, "
        f"{data.get('test')} to test{further(data)}",
        f"            fingerprint {data.get('fingerprint')}",
    ]


def further(data: dict[str, Any]) -> str:
    return f", {data['further_images']} of all are feedback" if data.get("further_images") else ""


def version_of(bundle: Path, home: Path) -> int | None:
    """The number under which a bundle is published in `exports/<model>`; None where it is not.

    The bundle may be one of the versions itself. The same one published twice has the first number.
    """
    versions = list_versions(home)
    if bundle.resolve().parent == home.resolve():
        versions = [version for version in versions if str(version) == bundle.resolve().name]
    ours = read_manifest(bundle)
    for version in versions:
        with contextlib.suppress(BrokenBundle):
            if read_manifest(home / str(version)) == ours:
                find_version(home.parent, home.name, version)
                return version
    return None
