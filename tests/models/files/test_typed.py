"""What is read from the disk has the types that it has to have, or an error says where it has not."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from models.bundle.manifest import BrokenBundle, read_golden, read_manifest
from models.files.typed import WrongType, fits, read_json, typed
from models.store.decisions import read_decisions
from models.store.history import about_version, sentences
from models.store.live import LivePointer, read_live
from models.store.publish import publish
from service.feedback.store import FeedbackStore
from service.ipc.routes import ModelRoute, Routes, VersionRoute, read_routes, write_routes
from tests.bundles import SPEC, edit_manifest
from tests.images import encode, noise


class Told(TypedDict):
    name: str
    age: NotRequired[int | None]


@dataclass(frozen=True)
class Inner:
    side: Literal["left", 1]
    pair: tuple[str, float] = ("", 0.0)

    def __post_init__(self) -> None:
        if self.pair[1] < 0:
            raise ValueError("pairs are positive")


@dataclass(frozen=True)
class Outer:
    inner: Inner | None
    counts: dict[int, list[bool]] = field(default_factory=dict)


def test_a_value_becomes_what_its_annotation_says() -> None:
    said = {"inner": {"side": "left", "pair": ["a", 1]}, "counts": {"3": [True]}}
    assert typed(json.loads(json.dumps(said)), Outer) == Outer(Inner("left", ("a", 1)), {3: [True]})
    assert typed({"inner": None}, Outer) == Outer(None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "Expected `object`, got `array`"),
        ({}, "Object missing required field `inner`"),
        ({"inner": None, "odd": 1}, "Unknown key 'odd'; known are inner, counts"),
        ({"inner": 5}, "Expected `object | null`, got `int` - at `$.inner`"),
        ({"inner": {}}, "Object missing required field `side` - at `$.inner`"),
        ({"inner": {"side": True}}, "got `bool` - at `$.inner.side`"),
        ({"inner": {"side": [1]}}, "got `array` - at `$.inner.side`"),
        ({"inner": {"side": 1, "pair": ["a"]}}, "Expected `array` of length 2, got 1 - at `$.inner.pair`"),
        ({"inner": {"side": 1, "pair": ["a", "b"]}}, "Expected `float`, got `str` - at `$.inner.pair[1]`"),
        ({"inner": {"side": 1, "odd": 2}}, "Unknown key 'odd'; known are side, pair"),
        ({"inner": {"side": 1, "pair": ["a", 10**400]}}, "Number out of range - at `$.inner.pair[1]`"),
        ({"inner": {"side": 1, "pair": ["a", -1]}}, "pairs are positive"),
        ({"inner": None, "counts": {"x": []}}, "Expected `int`, got `str` - at `key` in `$.counts`"),
        ({"inner": None, "counts": {"1": [0]}}, "Expected `bool`, got `int` - at `$.counts[...][0]`"),
    ],
)
def test_an_error_says_where_a_value_is_and_what_it_has_to_be(value: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        typed(value, Outer)
    assert message in str(raised.value)


class Untouchable(list):
    def __iter__(self):
        raise AssertionError("a matrix of a million numbers is looked at")


@dataclass(frozen=True)
class Holder:
    anything: Any


def test_what_may_be_anything_is_not_looked_at() -> None:
    matrix = Untouchable([[1, 2], [3, 4]])
    assert typed({"anything": matrix}, Holder).anything is matrix


def test_a_typed_dict_checks_its_own_keys_and_no_others() -> None:
    assert fits({"name": "x", "age": None, "more": [1]}, Told)
    assert not fits({"more": [1]}, Told)
    assert not fits({"name": "x", "age": 1.5}, Told)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff", '"text"', "1e400", '{"x": NaN}', "1" * 5000])
def test_a_file_that_is_no_json_or_says_something_else_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(tmp_path / "file", dict[str, int])


def test_a_whole_number_is_a_number_and_true_is_neither() -> None:
    assert fits(1, float)
    assert not fits(True, float)
    assert not fits(True, int)
    assert not fits(1.0, int)
    with pytest.raises(WrongType):
        typed(None, int | str)


WRONG = ['{"live":"x"}', '{"live":[1]}', '{"live":1.5}', '{"live":true}', '{"live":1e400}', '{"live":-1}', '{"live":0}']
WRONG += ['{"canary_fraction":"a"}', '{"canary_fraction":NaN}', '{"canary_fraction":2}', '{"unloaded":0}', "[]", "null"]


@pytest.mark.parametrize("content", WRONG)
def test_a_live_pointer_of_wrong_types_is_refused_with_a_sentence(exports: Path, content: str) -> None:
    (exports / "toy").mkdir(parents=True)
    (exports / "toy" / "live.json").write_text(content)
    with pytest.raises(BrokenBundle, match=r"live\.json is no live pointer \(.*\)\. Write .* into it"):
        read_live(exports / "toy")


def test_a_live_pointer_says_what_it_always_said(exports: Path) -> None:
    (exports / "toy").mkdir(parents=True)
    pointer = LivePointer(3, 2, canary=4, shadow=5, canary_fraction=0.1, unloaded=True)
    for said, meant in ((asdict(pointer), pointer), ({"live": 2, "previous": 1}, LivePointer(2, 1))):
        (exports / "toy" / "live.json").write_text(json.dumps(said))
        assert read_live(exports / "toy") == meant


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": {"test": "good"}},
        {"metrics": {"test": {"accuracy": "high"}}},
        {"lineage": {"data": [1]}},
        {"lineage": {"libraries": "all"}},
        {"class_names": ["cat", 1]},
        {"class_names": "cats"},
        {"files": {"saved_model.pb": 1}},
        {"temperature": "warm"},
        {"reference": {"num_images": 1}},
        {"input_spec": [8, 8, 3]},
        {"input_spec": {"height": "8", "width": 8, "channels": 3}},
        {"format": True},
        {"format": None},
    ],
)
def test_a_manifest_of_wrong_types_is_refused_with_a_sentence(bundle: Path, fields: dict[str, Any]) -> None:
    edit_manifest(bundle, **fields)
    with pytest.raises(BrokenBundle, match="export again or delete it"):
        read_manifest(bundle)


@pytest.mark.parametrize("rows", ["{", "{}", '[{"file": 1}]', '[{"file": "0", "probabilities": ["a"]}]'])
def test_golden_answers_of_wrong_types_are_refused_with_a_sentence(bundle: Path, rows: str) -> None:
    (bundle / "assets.extra" / "golden" / "probabilities.json").write_text(rows)
    with pytest.raises(BrokenBundle, match="does not list answers"):
        read_golden(bundle)


def test_the_last_number_claimed_has_to_be_a_number(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    (exports / "toy" / ".claimed").write_text("seven\n")
    with pytest.raises(BrokenBundle, match=r"\.claimed does not say which version was numbered last"):
        publish(bundle, exports)
    (exports / "toy" / ".claimed").write_text("7\n")
    assert publish(bundle, exports) == 8


def test_lines_that_are_no_decisions_are_passed_over(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    sound = {"at": "2026-01-01T00:00:00Z", "outcome": "held", "reason": "why", "champion": None, "findings": []}
    odd = [{}, [], {**sound, "findings": [1]}, {**sound, "data": {"feedback_until_ns": "x"}}, {**sound, "version": "1"}]
    lines = [*map(json.dumps, odd), "{", "[" * 100_000, json.dumps({**sound, "version": 1, "key": "k"})]
    (exports / "toy" / "decisions.jsonl").write_text("\n".join(lines))
    assert [decision["key"] for decision in read_decisions(exports / "toy")] == ["k"]
    assert sentences(about_version(exports / "toy", 1))[-1].startswith("decision    held at 2026")


@pytest.mark.parametrize("said", ["[]", '{"version": "1"}', '{"top": [["cat"]]}', '{"top": [[1, 0.5]]}', '{"odd": 1}'])
def test_a_kept_image_whose_description_is_damaged_is_not_listed(tmp_path: Path, said: str) -> None:
    store = FeedbackStore(tmp_path / "toy", max_bytes=10**6)
    for seed in (1, 2):
        store.keep(encode(noise(8, 8, seed=seed)), 1, f"r{seed}", [("cat", 0.6), ("dog", 0.4)])
    first, _ = sorted((tmp_path / "toy" / "kept").glob("*.json"))
    first.write_text(said)
    (kept,) = store.kept(10)
    assert kept.top == [("cat", 0.6), ("dog", 0.4)]


def test_routes_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Names of files, which a reason may have, need not be UTF-8."""
    version = VersionRoute("available", ("/x",), None, ("cat", "größte"), SPEC, {"accuracy": 0.9})
    rejected = VersionRoute("rejected", reason="has an unlisted file caf\udce9")
    routes = Routes("toy", {"toy": ModelRoute(1, {1: version, 2: rejected}, {"live": 1})})
    write_routes(tmp_path / "routes.json", routes)
    assert read_routes(tmp_path / "routes.json") == routes
