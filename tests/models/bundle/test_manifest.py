"""What a bundle is, and that a broken one is found out before anybody is answered by it."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bundle.manifest import (
    IMAGES,
    INT8,
    LABELS,
    MANIFEST,
    BrokenBundle,
    Manifest,
    loaded_bytes,
    read_golden,
    read_manifest,
    verify,
)
from models.bundle.reference import make_reference
from models.files.durable import sha256
from tests.bundles import CLASS_NAMES, NETWORK, SPEC, edit_manifest, make_bundle
from tests.images import noise

SAYS_WHAT_TO_DO = "export again|delete it|publish again"


def test_a_bundle_reads_as_it_was_written(bundle: Path) -> None:
    manifest = verify(bundle)
    assert manifest == read_manifest(bundle)
    assert manifest.class_names == CLASS_NAMES
    assert manifest.input_spec == SPEC
    assert manifest.metrics == {"test": {"accuracy": 0.9}}
    assert manifest.temperature == 1.5
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_the_manifest_lists_every_other_file_with_its_checksum(bundle: Path) -> None:
    listed = verify(bundle).files
    there = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert listed.keys() == there - {MANIFEST.as_posix()}
    assert listed["saved_model.pb"] == sha256(bundle / "saved_model.pb")


def test_an_older_manifest_is_of_one_label_an_image_and_of_both_engines(bundle: Path) -> None:
    value = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    for name in ("task", "threshold", "engines"):
        del value[name]
    (bundle / MANIFEST).write_text(json.dumps(value), encoding="utf-8")
    manifest = verify(bundle)
    assert (manifest.task, manifest.engines) == ("single_label", ("openvino", "tensorflow"))


@pytest.mark.parametrize(
    "field",
    [
        *({"threshold": 0}, {"threshold": -0.1}, {"threshold": 1.01}, {"threshold": "0.5"}, {"task": "regression"}),
        *({"task": None}, {"engines": []}, {"engines": ["jax"]}, {"engines": "openvino"}),
    ],
    ids=str,
)
def test_a_task_threshold_or_engine_that_is_not_known_is_refused(bundle: Path, field: dict[str, object]) -> None:
    edit_manifest(bundle, **field)
    with pytest.raises(BrokenBundle, match=SAYS_WHAT_TO_DO):
        read_manifest(bundle)
    edit_manifest(bundle, task="multi_label", threshold=1, engines=["tensorflow"])
    assert read_manifest(bundle).threshold == 1


def test_line_i_of_the_labels_names_class_i(bundle: Path) -> None:
    assert tuple((bundle / LABELS).read_text(encoding="utf-8").splitlines()) == CLASS_NAMES


def test_class_names_of_an_older_bundle_are_read_in_the_form_that_folders_and_requests_come_in(bundle: Path) -> None:
    """macOS writes "ö" as a letter and a sign: no folder would be of the class, and no label known."""
    old = [unicodedata.normalize("NFD", name) for name in CLASS_NAMES]
    assert tuple(old) != CLASS_NAMES
    (bundle / LABELS).write_text("".join(f"{name}\n" for name in old), encoding="utf-8")
    files = {**read_manifest(bundle).files, LABELS.as_posix(): sha256(bundle / LABELS)}
    seen = make_reference(old, noise(4, 8, 8, 3), np.arange(4), np.eye(3)[[2, 2, 2, 0]])
    edit_manifest(bundle, class_names=old, files=files, reference=seen.to_json())
    manifest = verify(bundle)
    assert manifest.class_names == CLASS_NAMES
    assert manifest.reference is not None
    assert manifest.reference.classes == [CLASS_NAMES[2], CLASS_NAMES[0], CLASS_NAMES[1]]


def test_an_older_bundle_with_one_name_in_two_forms_is_still_read(bundle: Path) -> None:
    old = ["café", unicodedata.normalize("NFD", "café"), "thé"]
    (bundle / LABELS).write_text("".join(f"{name}\n" for name in old), encoding="utf-8")
    files = {**read_manifest(bundle).files, LABELS.as_posix(): sha256(bundle / LABELS)}
    edit_manifest(bundle, class_names=old, files=files)
    assert verify(bundle).class_names == tuple(old)


def test_golden_images_come_with_the_probabilities_they_must_get(bundle: Path) -> None:
    ((data, probabilities),) = read_golden(bundle)
    assert data.startswith(b"\x89PNG")
    assert probabilities == [0.5, 0.25, 0.25]


def test_any_user_may_read_the_manifest(bundle: Path) -> None:
    assert (bundle / MANIFEST).stat().st_mode & 0o777 == 0o644


def flip_bit(bundle: Path) -> None:
    data = bytearray((bundle / "saved_model.pb").read_bytes())
    data[3] ^= 1
    (bundle / "saved_model.pb").write_bytes(data)


def link_file(bundle: Path) -> None:
    (bundle / "saved_model.pb").rename(bundle.parent / "elsewhere")
    (bundle / "saved_model.pb").symlink_to(bundle.parent / "elsewhere")


def link_folder(bundle: Path) -> None:
    (bundle / "variables").rename(bundle.parent / "elsewhere")
    (bundle / "variables").symlink_to(bundle.parent / "elsewhere")


def swap_labels(bundle: Path) -> None:
    (bundle / LABELS).write_text("dog\ncat\ngrößte Katze\n", encoding="utf-8")
    edit_manifest(bundle, files={**read_manifest(bundle).files, LABELS.as_posix(): sha256(bundle / LABELS)})


def repeat_class(bundle: Path) -> None:
    edit_manifest(bundle, class_names=["cat", "cat", "dog"])


def drop_network(bundle: Path) -> None:
    (bundle / "saved_model.pb").unlink()
    files = read_manifest(bundle).files
    edit_manifest(bundle, files={name: files[name] for name in files if name != "saved_model.pb"})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip_bit, "has altered saved_model.pb"),
        (lambda bundle: (bundle / "saved_model.pb").write_bytes(b""), "has altered saved_model.pb"),
        (lambda bundle: (bundle / "variables" / "variables.index").unlink(), "lacks variables/variables.index"),
        (lambda bundle: (bundle / "extra.py").write_text("import os"), "has unlisted extra.py"),
        (lambda bundle: (bundle / MANIFEST).unlink(), "has no manifest.json"),
        (lambda bundle: (bundle / MANIFEST).write_bytes(b""), "is no manifest"),
        (lambda bundle: (bundle / MANIFEST).write_bytes(b"\xff\xfe{}"), "is no manifest"),
        (drop_network, "has no saved_model.pb"),
        (swap_labels, "differs from the manifest's class names"),
        (repeat_class, "all different"),
        (lambda bundle: edit_manifest(bundle, class_names=["cat"]), "two or more"),
        (lambda bundle: edit_manifest(bundle, format=2), "manifest format 2"),
        (lambda bundle: edit_manifest(bundle, format=2, new_in_format_2=True), "manifest format 2"),
        (link_file, "saved_model.pb is no plain file"),
        (link_folder, "variables is no plain file"),
        (lambda bundle: os.mkfifo(bundle / "pipe"), "pipe is no plain file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_bundle_is_refused_with_what_is_wrong_and_what_to_do(
    bundle: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(bundle)
    with pytest.raises(BrokenBundle, match=message) as caught:
        verify(bundle)
    assert str(bundle) in str(caught.value)
    caught.match(SAYS_WHAT_TO_DO)


@pytest.mark.parametrize(
    "content",
    ["null", "[]", "{}", '"manifest"', "[" * 100_000, '{"model": "toy"}', "{"],
    ids=lambda content: content[:20],
)
def test_whatever_a_manifest_holds_it_is_refused_and_nothing_else_is_raised(bundle: Path, content: str) -> None:
    (bundle / MANIFEST).write_text(content)
    with pytest.raises(BrokenBundle, match=SAYS_WHAT_TO_DO):
        verify(bundle)


@pytest.mark.parametrize(
    "fields",
    [
        {"files": []},
        {"files": {"saved_model.pb": None}},
        {"class_names": 5},
        {"class_names": [["cat"], ["dog"]]},
        {"input_spec": [8, 8, 3]},
        {"input_spec": {"height": 0, "width": 8, "channels": 3}},
        {"unknown": 1},
    ],
    ids=repr,
)
def test_a_manifest_whose_fields_are_not_what_they_should_be_is_refused(
    bundle: Path, fields: dict[str, object]
) -> None:
    edit_manifest(bundle, **fields)
    with pytest.raises(BrokenBundle, match=SAYS_WHAT_TO_DO):
        verify(bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenBundle, match=r"has no manifest\.json; export again or delete it"):
        verify(tmp_path / "nothing")


def test_one_form_of_the_network_counts_as_its_size(tmp_path: Path) -> None:
    """Neither more images in the list of what a model was made with nor a second form make a larger model."""
    bundle = make_bundle(tmp_path / "bundle")
    before = loaded_bytes(bundle)
    assert before == len(NETWORK) + len(b"weights")
    (bundle / IMAGES).write_bytes(bytes(100_000))
    assert loaded_bytes(bundle) == before
    (bundle / INT8).mkdir()
    (bundle / INT8 / "model.bin").write_bytes(bytes(1000))
    assert loaded_bytes(bundle) == before
