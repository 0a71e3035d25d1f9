"""Bundles for tests that never run the model: the right files around what is no trained network."""

import json
from pathlib import Path

from models.bundle.manifest import GOLDEN, MANIFEST, Manifest, verify, write_manifest
from models.bundle.preprocessing import InputSpec
from models.store.layout import list_versions
from tests.images import encode, noise


def message(number: int, content: bytes | str) -> bytes:
    """A field of a protocol buffer that holds a text or another message."""
    data = content.encode() if isinstance(content, str) else content
    length, size = len(data), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def small_graph(op: str) -> bytes:
    """A saved_model.pb of one operation, `images`, whose output is the answer of `serving_default`."""
    node = message(1, "images") + message(2, op)
    output = message(1, "probabilities") + message(2, message(1, "images:0"))
    signature = message(1, "serving_default") + message(2, message(2, output))
    return message(2, message(2, message(1, node)) + message(5, signature))


NETWORK = small_graph("Placeholder")  # what it computes is no classification
CLASS_NAMES = ("cat", "dog", "größte Katze")
SPEC = InputSpec(8, 8, 3)


def make_bundle(folder: Path, *, model: str = "toy", content: bytes = b"weights", graph: bytes = NETWORK) -> Path:
    """A sealed bundle of `model` in `folder`; `content` stands in for its variables."""
    (folder / "variables").mkdir(parents=True)
    (folder / GOLDEN).mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(graph)
    (folder / "variables" / "variables.index").write_bytes(content)
    (folder / "assets.extra" / "report.html").write_text("<!doctype html>")
    (folder / GOLDEN / "0").write_bytes(encode(noise(8, 8, 3)))
    golden = [{"file": "0", "probabilities": [0.5, 0.25, 0.25]}]
    (folder / GOLDEN / "probabilities.json").write_text(json.dumps(golden))
    metrics = {"test": {"accuracy": 0.9}}
    write_manifest(folder, Manifest(model, "lenet5", CLASS_NAMES, SPEC, metrics, temperature=1.5))
    return folder


def edit_manifest(bundle: Path, **fields: object) -> None:
    """Change fields of a sealed manifest as somebody with an editor would."""
    path = bundle / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def verified_versions(home: Path) -> list[int]:
    """The versions that anybody would see in `exports/<model>`; fails unless each is complete."""
    versions = list_versions(home)
    for version in versions:
        verify(home / str(version))
    return versions
