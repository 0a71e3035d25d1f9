"""`striate score`: images -> a Parquet file, whatever lies among them and however often it is killed."""

import contextlib
import csv
import errno
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from models.bundle.manifest import MANIFEST, read_golden
from models.bundle.preprocessing import decode_image
from models.files.durable import sha256
from models.files.folders import UnreadableFolder
from service.scoring.listing import list_images
from service.scoring.run import Plan, score_images, settle
from service.scoring.scorer import Scorer
from tests.images import encode, noise, shades, write_folder
from tests.imported import coloured, imported_bundle, write_colours
from tests.needs import LONG
from tests.processes import gone_astray, python, start

NUM_LARGE, SHARD_SIZE = 300, 10
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def bundle(digits_exports):
    return digits_exports / "digits" / "1"


@pytest.fixture(scope="module")
def golden(bundle):
    """(encoded images, the probabilities that they got from the trained network)."""
    return read_golden(bundle)


@pytest.fixture
def digits(golden, tmp_path):
    """A folder of the golden images, and of files that are none."""
    folder = write_folder(tmp_path / "images", {"some": [data for data, _ in golden]})
    (folder / "text.jpg").write_text("no image at all")
    (folder / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder whose images take long enough to decode that a run can be killed on its way."""
    folder = tmp_path_factory.mktemp("large")
    originals = [encode(noise(800, 800, seed=seed)) for seed in range(7)]
    for i in range(NUM_LARGE):
        path, original = folder / f"{i:03}.png", folder / f"{i % len(originals):03}.png"
        path.write_bytes(originals[i]) if i < len(originals) else os.link(original, path)
    return folder


@pytest.fixture(scope="module")
def undisturbed(bundle, large, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out.parquet"
    run(bundle, large, output, "--shard-size", SHARD_SIZE)
    return pq.read_table(output)


def run(bundle, source, output, *flags, status=0):
    return python("-m", "service", "score", bundle, source, "-o", output, *flags, status=status)


def kill_after(num_shards, bundle, source, output):
    """Start a run, and kill it when there are so many shards; {shard: what tells whether it was written again}."""
    with started(bundle, source, output) as process:
        wait_until(lambda: len(shards_of(output)) >= num_shards, process)
    assert not output.exists()
    assert len(shards_of(output)) < NUM_LARGE / SHARD_SIZE, "it was done before it was killed"
    return shards_of(output)


@contextlib.contextmanager
def started(bundle, source, output):
    """A run in the background, which is killed at the end."""
    command = ["-m", "service", "score", bundle, source, "-o", output, "--shard-size", SHARD_SIZE]
    process = start(*command, log=output.with_suffix(".log"))
    try:
        yield process
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL


def wait_until(condition, process):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, "the run ended"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def shards_of(output):
    paths = output.with_name(f"{output.name}.parts").glob("0*.parquet")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def rows_of(output):
    return {row["image"]: row for row in pq.read_table(output).to_pylist()}


# What is in the output


def test_every_image_has_a_row_with_the_class_names_in_their_order(bundle, digits, golden, tmp_path):
    output = tmp_path / "out.parquet"
    said = run(bundle, digits, output, "--precision", "float32")
    table = pq.read_table(output)
    assert table.column_names == ["image", "label", "probability", "probabilities", "error"]
    assert table["image"].to_pylist() == sorted(table["image"].to_pylist())
    names = json.loads(table.schema.metadata[b"class_names"])
    rows = rows_of(output)
    for i, (_, expected) in enumerate(golden):
        row = rows[f"some/{i:03}.png"]
        assert row["probabilities"] == pytest.approx(expected, abs=1e-4)
        assert row["probability"] == max(row["probabilities"])
        assert row["label"] == names[row["probabilities"].index(row["probability"])]
        assert row["error"] is None
    assert f"{len(golden) + 2} images, 2 of them unreadable, " in said
    assert f"images/s: {output}" in said


def test_the_output_says_which_model_it_came_from(bundle, digits, tmp_path):
    output = tmp_path / "out.parquet"
    run(bundle, digits, output, "--precision", "float32")
    metadata = pq.read_schema(output).metadata
    assert metadata[b"model"] == b"digits"
    assert metadata[b"manifest_sha256"].decode() == sha256(bundle / MANIFEST)
    assert metadata[b"precision"] == b"float32"


def test_in_the_same_precision_answers_are_those_of_the_http_service(bundle, digits, digits_service, tmp_path):
    """The service takes the precision that is fastest at its start; scoring takes the same one every time."""
    output = tmp_path / "out.parquet"
    (live,) = requests.get(f"{digits_service}/models/digits", timeout=30).json()["versions"]
    run(bundle, digits, output, "--precision", live["precision"])
    for name, row in rows_of(output).items():
        answer = requests.post(f"{digits_service}/classify?top_k=10", data=(digits / name).read_bytes(), timeout=30)
        if row["error"]:
            assert answer.status_code >= 400
            continue
        top = answer.json()["predictions"][0]["top"]
        by_class = [prediction["probability"] for prediction in sorted(top, key=lambda found: found["index"])]
        assert row["probabilities"] == pytest.approx(by_class, abs=1e-6)  # of which HTTP gives six digits


def test_what_is_no_image_is_a_row_that_says_so(bundle, digits, tmp_path):
    output = tmp_path / "out.parquet"
    run(bundle, digits, output)
    rows = rows_of(output)
    assert rows["text.jpg"].pop("error").startswith("image_invalid: Unrecognized image format (15 bytes)")
    assert rows["empty.png"].pop("error").startswith("image_invalid: There is no image")
    assert set(rows["text.jpg"].values()) == {"text.jpg", None}


def test_the_suffix_says_which_format_is_written_and_the_rows_are_the_same_in_each(bundle, digits, tmp_path):
    (digits / 'comma, "quote"\nand line.png').write_bytes((digits / "some/000.png").read_bytes())
    for suffix in ("parquet", "csv", "JSONL"):
        run(bundle, digits, tmp_path / f"out.{suffix}", "--shard-size", 5)
    expected = pq.read_table(tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *cells = csv.reader(file)
    read = [json.loads(line) for line in (tmp_path / "out.JSONL").read_text(encoding="utf-8").splitlines()]
    assert header == list(read[0]) == expected.column_names
    from_csv = [
        {
            "image": image,
            "label": label or None,
            "probability": float(probability) if probability else None,
            "probabilities": json.loads(probabilities) if probabilities else None,
            "error": error or None,
        }
        for image, label, probability, probabilities, error in cells
    ]
    for rows in (from_csv, read):
        assert pa.Table.from_pylist(rows, expected.schema).equals(expected)  # bit for bit


def test_a_folder_of_nothing_but_bad_files_has_rows_too(bundle, tmp_path):
    folder = write_folder(tmp_path / "images", {"bad": [b"1", b"2", b"3"]})
    run(bundle, folder, tmp_path / "out.parquet", "--shard-size", 2)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["error"].null_count == 0
    assert table["label"].null_count == len(table) == 3


def test_an_image_has_the_same_row_whoever_is_computed_with_it(bundle, tmp_path):
    """Alone; among others and bad ones; two batches under way at once."""
    images = [*shades(21, 0, 255), b"no image", *shades(20, 0, 128, seed=1), b"none either"]
    folder = write_folder(tmp_path, {"mixed": images})
    names = [f"mixed/{i:03}.png" for i in range(len(images))]
    scorer = Scorer(bundle, "openvino", "float32", 8)
    alone = pa.concat_tables(scorer(folder, [name]) for name in names)
    assert scorer(folder, names).equals(alone)
    scorer.loaded.backend.in_flight = 2
    assert scorer(folder, names).equals(alone)
    assert scorer(folder, names[::-1]).equals(alone.take(list(range(len(names)))[::-1]))


def test_a_backend_that_has_to_know_sizes_is_asked_for_one_only(bundle, tmp_path, monkeypatch):
    folder = write_folder(tmp_path, {"some": shades(11, 0, 255)})
    names = [f"some/{i:03}.png" for i in range(11)]
    scorer = Scorer(bundle, "openvino", "float32", 4)
    expected = scorer(folder, names)
    backend, sizes = scorer.loaded.backend, []
    infer = backend.start
    monkeypatch.setattr(backend, "takes_any_size", False, raising=False)
    monkeypatch.setattr(backend, "start", lambda images: sizes.append(len(images)) or infer(images))
    assert scorer(folder, names).equals(expected)
    assert len(set(sizes)) == 1


def test_an_answer_that_is_no_number_is_an_error(bundle, tmp_path, monkeypatch):
    folder = write_folder(tmp_path, {"some": shades(2, 0, 255)})
    scorer = Scorer(bundle, "openvino", "float32", 4)
    answers = np.full((2, 10), 0.1, np.float32)
    answers[1, 3] = np.nan
    monkeypatch.setattr(scorer.loaded.backend, "finish", lambda started: answers[: len(started)])
    first, second = scorer(folder, ["some/000.png", "some/001.png"]).to_pylist()
    assert (first["error"], first["probability"]) == (None, np.float32(0.1))
    assert second["error"].startswith("model_failed: ")
    assert second["probabilities"] is None


def test_images_are_decoded_as_everywhere_else(bundle, tmp_path):
    scorer = Scorer(bundle, "openvino", "float32", 4)
    write_folder(tmp_path, {"some": [noise(90, 50, 3)]})
    (decoded,) = scorer.read(tmp_path, ["some/000.png"])
    data = (tmp_path / "some/000.png").read_bytes()
    np.testing.assert_array_equal(decoded, decode_image(data, scorer.loaded.manifest.input_spec))


def test_neither_flask_nor_tensorflow_is_loaded(bundle, digits, tmp_path):
    code = """
import sys
from service.cli.app import main
main(sys.argv[1:], standalone_mode=False)
assert not {"flask", "gevent", "tensorflow", "keras"} & set(sys.modules)
"""
    python("-c", code, "score", bundle, digits, "-o", tmp_path / "out.parquet", "--engine", "openvino")
    assert len(pq.read_table(tmp_path / "out.parquet")) == len(list(digits.rglob("*.*")))


# Which files


def test_hidden_files_are_passed_over_and_links_are_followed(bundle, digits, tmp_path):
    elsewhere = write_folder(tmp_path / "elsewhere", {"more": shades(2, 0, 255)})
    (digits / ".hidden").mkdir()
    for name in (".hidden/000.png", ".000.png"):
        (digits / name).write_bytes((digits / "some/000.png").read_bytes())
    (digits / "Thumbs.db").touch()
    (digits / "linked").symlink_to(elsewhere)
    (digits / "loop").symlink_to(digits)
    (digits / "linked.png").symlink_to(elsewhere / "more/000.png")
    run(bundle, digits, tmp_path / "out.parquet")
    rows = rows_of(tmp_path / "out.parquet")
    assert {"linked.png", "linked/more/000.png", "linked/more/001.png"} <= rows.keys()
    assert not [name for name in rows if "hidden" in name or name.startswith((".", "loop/", "Thumbs"))]


def test_a_folder_that_cannot_be_listed_is_an_error_before_anything_is_classified(digits, tmp_path, monkeypatch):
    def scan(path):  # root may list everything
        if str(path).endswith("some"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UnreadableFolder, match=r"some cannot be read \(Permission denied\)"):
        list_images(digits, tmp_path / "out.parquet")


def test_paths_of_a_list_are_relative_to_it(bundle, digits, tmp_path):
    aside = digits / "lists"
    aside.mkdir()
    absolute = digits / "some/001.png"
    (aside / "list.txt").write_text(f"../some/002.png\n\n{absolute}\r\n  \n../some/none.png\n../some\n")
    run(bundle, aside / "list.txt", tmp_path / "out.parquet")
    run(bundle, digits, tmp_path / "folder.parquet")
    rows, expected = rows_of(tmp_path / "out.parquet"), rows_of(tmp_path / "folder.parquet")
    assert list(rows) == ["../some/002.png", str(absolute), "../some/none.png", "../some"]
    assert rows["../some/002.png"]["probabilities"] == expected["some/002.png"]["probabilities"]
    assert rows[str(absolute)]["probabilities"] == expected["some/001.png"]["probabilities"]
    assert rows["../some/none.png"]["error"] == "file_unreadable: No such file or directory."
    assert rows["../some"]["error"] == "file_unreadable: This is no regular file."


def test_a_pipe_is_not_waited_for(bundle, digits, tmp_path):
    os.mkfifo(digits / "pipe.png")
    (tmp_path / "list.txt").write_text("images/pipe.png\n")
    run(bundle, tmp_path / "list.txt", tmp_path / "out.parquet")
    assert rows_of(tmp_path / "out.parquet")["images/pipe.png"]["error"].startswith("file_unreadable: ")


def test_names_that_are_no_utf_8_are_spelt_out(bundle, digits, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (digits / name).write_bytes((digits / "some/000.png").read_bytes())
    (tmp_path / "list.txt").write_bytes(b"images/caf\xe9.png\n")
    run(bundle, digits, tmp_path / "out.parquet")
    assert rows_of(tmp_path / "out.parquet")["caf\\xe9.png"]["error"] is None
    run(bundle, tmp_path / "list.txt", tmp_path / "out.parquet")
    assert rows_of(tmp_path / "out.parquet")["images/caf\\xe9.png"]["error"] is None


def test_an_output_among_the_images_is_none_of_them(bundle, digits):
    output = digits / "out.parquet"
    run(bundle, digits, output)
    before = rows_of(output)
    run(bundle, digits, output)
    assert rows_of(output) == before
    assert "text.jpg" in before
    assert not [name for name in before if name.startswith("out.parquet")]


# What is refused


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [
        ("empty", "out.parquet", "empty names no image"),
        ("empty.txt", "out.parquet", "empty.txt names no image"),
        ("missing", "out.parquet", "There is no "),
        ("image.png", "out.parquet", "no list of paths"),
        ("some", "directory", "directory is a directory"),
        (
            "some",
            "out.xlsx",
            "the suffix '.xlsx', and the suffix says what is written. Give a name that ends with .parquet",
        ),
        ("some", "out", "Give a name that ends with .parquet, .csv, .jsonl"),
    ],
)
def test_what_cannot_be_scored_is_said_in_a_sentence(bundle, tmp_path, source, output, words):
    write_folder(tmp_path, {"some": shades(2, 0, 255), "empty": [], "directory": []})
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "image.png").write_bytes(encode(noise(8, 8)))
    said = run(bundle, tmp_path / source, tmp_path / output, status=1)
    assert said.startswith("Error: ")
    assert words in said
    assert not list(tmp_path.glob("*.parts"))


def test_a_bundle_that_is_none_is_said_in_a_sentence(bundle, digits, tmp_path):
    assert f"There is no folder {tmp_path / 'none'}. Give a bundle" in run(
        tmp_path / "none", digits, tmp_path / "out.parquet", status=1
    )
    assert f"Give one of its versions: {bundle}" in run(bundle.parent, digits, tmp_path / "out.parquet", status=1)
    assert "no manifest.json" in run(digits, digits, tmp_path / "out.parquet", status=1)
    assert not (tmp_path / "out.parquet.parts").exists()


# Killed, and gone on with


def test_a_killed_run_is_gone_on_with_and_gives_the_same_rows(bundle, large, undisturbed, tmp_path):
    output = tmp_path / "out.parquet"
    first = kill_after(2, bundle, large, output)
    second = kill_after(len(first) + 2, bundle, large, output)
    assert second.items() >= first.items(), "a shard that was done was done again"
    run(bundle, large, output, "--shard-size", SHARD_SIZE)
    assert pq.read_table(output).equals(undisturbed)
    assert pq.read_schema(output).equals(undisturbed.schema, check_metadata=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.log", "out.parquet"]


def test_shards_of_another_plan_are_refused_and_made_anew_where_that_is_asked_for(bundle, large, tmp_path):
    output = tmp_path / "out.parquet"
    kept = kill_after(2, bundle, large, output)
    flags = ["--shard-size", 100, "--precision", "float32"]
    said = run(bundle, large, output, *flags, status=1)
    assert f"shard_size ({SHARD_SIZE} there, 100 now)" in said
    assert "--fresh" in said
    assert shards_of(output) == kept
    run(bundle, large, output, *flags, "--fresh")
    assert pq.ParquetFile(output).num_row_groups == NUM_LARGE / 100
    assert not output.with_name("out.parquet.parts").exists()


@pytest.mark.parametrize("said", ["", "[1]", '{"bundle": 1}'])
def test_a_plan_that_is_damaged_is_said_in_one_sentence(tmp_path, said):
    (tmp_path / "plan.json").write_text(said)
    with pytest.raises(ValueError, match=r"plan\.json is no plan \(.*\)\. Give --fresh, or delete"):
        settle(tmp_path, Plan("b", "i", 1000, "openvino", "float32"), fresh=False)


def test_shards_of_other_images_are_refused(bundle, large, digits, tmp_path):
    output = tmp_path / "out.parquet"
    kill_after(2, bundle, large, output)
    said = run(bundle, digits, output, "--shard-size", SHARD_SIZE, status=1)
    assert "images (" in said
    assert "shard_size" not in said


def test_of_two_runs_at_once_the_second_is_refused(bundle, large, tmp_path):
    output = tmp_path / "out.parquet"
    with started(bundle, large, output) as process:
        wait_until(lambda: shards_of(output), process)
        assert f"Another run is making {output}." in run(bundle, large, output, status=1)


def test_what_was_there_before_stays_until_the_new_is_whole(bundle, large, digits, tmp_path):
    output = tmp_path / "out.parquet"
    run(bundle, digits, output)
    before = output.read_bytes()
    with started(bundle, large, output) as process:
        wait_until(lambda: len(shards_of(output)) > 2, process)
        assert output.read_bytes() == before


def test_with_all_shards_done_there_is_nothing_left_to_compute(bundle, digits, tmp_path, monkeypatch):
    output = tmp_path / "out.parquet"

    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as context:
        context.setattr("service.scoring.run.join", full)
        with pytest.raises(OSError, match="No space left"):
            score_images(bundle, digits, output)
    assert score_images(bundle, digits, output).images_per_s is None
    assert len(pq.read_table(output)) == len(list(digits.rglob("*.*")))


# On more machines


@LONG
def test_ray_gives_the_rows_of_the_command(bundle, digits, tmp_path):
    (digits / os.fsdecode(b"caf\xe9.png")).write_bytes((digits / "some/000.png").read_bytes())
    run(bundle, digits, tmp_path / "out.parquet", "--shard-size", 5)
    flags = ["--shard-size", 5, "--num-actors", 1]
    python("deploy/ray_score.py", bundle, digits, "-o", tmp_path / "rows", *flags)
    check_what_ray_asks()
    expected = pq.read_table(tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "rows")
    assert len(list((tmp_path / "rows").iterdir())) == -(-len(expected) // 5)
    assert rows.sort_by("image").equals(expected.sort_by("image"))
    assert rows.schema.equals(expected.schema, check_metadata=True)


def check_what_ray_asks() -> None:
    """What deploy/ray_score.py says that Ray does, and nothing else; all of its processes have ended."""
    deadline = time.monotonic() + 60
    while any(is_rays(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < deadline, "processes of Ray are left behind"
        time.sleep(0.1)
    for line in gone_astray():
        assert re.search(r"getaddrinfo (169\.254\.169\.254|metadata\.google\.internal): |/home/\.ray$", line)


def is_rays(command_line: Path) -> bool:
    with contextlib.suppress(OSError):
        return b"/tmp/ray/session_" in command_line.read_bytes()
    return False


@LONG
def test_ray_goes_on_with_a_killed_run(bundle, digits, tmp_path):
    run(bundle, digits, tmp_path / "out.parquet", "--shard-size", 1)
    rows, parts = tmp_path / "rows", tmp_path / "rows.parts"
    command = ("deploy/ray_score.py", bundle, digits, "-o", rows, "--shard-size", 1, "--num-actors", 1)
    killed = start(*command, log=tmp_path / "log")
    while not list(parts.glob("[0-9]*")):
        assert killed.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    check_what_ray_asks()
    assert not rows.exists()
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("[0-9]*")}
    python(*command)
    assert not parts.exists()
    assert done == {name: (rows / name).stat().st_mtime_ns for name in done}
    expected = pq.read_table(tmp_path / "out.parquet")
    assert pq.read_table(rows).sort_by("image").equals(expected.sort_by("image"))
    assert "is there already" in python(*command, status=1)
    check_what_ray_asks()


def test_every_label_that_reaches_the_threshold_is_in_the_table(tmp_path):
    """Of a model that TensorFlow alone computes, wherever OpenVINO is asked for."""
    saved = write_colours(tmp_path / "saved")["multi_label"]
    bundle = imported_bundle(saved, tmp_path / "bundle", "colours", "multi_label", engines=("tensorflow",))
    folder = tmp_path / "images"
    folder.mkdir()
    for name, rgb in {"black": (0, 0, 0), "yellow": (255, 255, 0)}.items():
        (folder / f"{name}.png").write_bytes(coloured(*rgb))
    (folder / "zzz.txt").write_text("no image")
    outputs = [tmp_path / f"out{suffix}" for suffix in (".parquet", ".csv", ".jsonl")]
    command = ("-m", "service", "score", bundle, folder, "--engine", "openvino", "-o")
    for output in outputs:
        python(*command, output)
    table = pq.read_table(outputs[0])
    assert table.column_names == ["image", "labels", "probabilities", "error"]
    assert table.schema.metadata[b"engine"] == b"tensorflow"
    assert table["labels"].to_pylist() == [[], ["red", "green"], None]
    assert table["probabilities"][1].as_py() == pytest.approx([0.982, 0.982, 0.018], abs=0.02)
    with outputs[1].open(newline="") as file:
        assert [row["labels"] for row in csv.DictReader(file)] == ["[]", '["red", "green"]', ""]
    rows = [json.loads(line) for line in outputs[2].read_text().splitlines()]
    assert [row["labels"] for row in rows] == [[], ["red", "green"], None]
    assert rows[2]["error"].startswith("image_")
