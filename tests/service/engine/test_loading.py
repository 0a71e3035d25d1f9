"""How a model is loaded: in which precision, with how many threads, for which batches; and aside, if others answer."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from models.bundle.manifest import GOLDEN, IMPORTED, BrokenBundle, Manifest, read_manifest, write_manifest
from models.bundle.preprocessing import InputSpec
from models.errors import UserError
from service import machine
from service.engine import loading
from service.engine.backend import Backend
from service.engine.batch_sizes import LONGEST_BATCH_S
from service.engine.loading import LONGEST_WARM_UP_S, Verdict, load, load_again, warm_up
from service.engine.pace import AT_ONCE, LOWEST, Pace
from service.machine import available_cores, has_bfloat16
from tests.bundles import make_bundle
from tests.models.bundle.saved_models import save
from tests.processes import python


class SlowBackend(Backend):
    """A batch takes as long as it has images."""

    precision = "float32"
    threads = 1

    def __init__(self, seconds_per_image: float) -> None:
        self.seconds_per_image = seconds_per_image
        self.sizes: list[int] = []

    def start(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        time.sleep(self.seconds_per_image * len(images))
        return images

    def finish(self, started: np.ndarray) -> np.ndarray:
        return started.reshape(len(started), -1).astype(np.float32)


def test_batches_grow_until_one_takes_too_long_for_those_who_wait():
    backend = SlowBackend(LONGEST_BATCH_S / 5)
    seconds = warm_up(backend, (2, 2, 1), 32)
    assert list(seconds) == [1, 2, 4]
    assert set(backend.sizes) == {1, 2, 4}
    assert seconds[1] >= backend.seconds_per_image


def test_large_batches_need_no_warm_up_where_the_first_takes_no_longer():
    class Flexible(SlowBackend):
        takes_any_size = True

    backend = Flexible(LONGEST_WARM_UP_S / 3)
    seconds = warm_up(backend, (2, 2, 1), 32)
    assert set(backend.sizes) == {1, 2}
    assert list(seconds) == [1, 2]


@pytest.mark.parametrize(("limit", "sizes"), [(0, [1]), (1, [1]), (3, [1, 2]), (32, [1, 2, 4, 8, 16, 32])])
def test_no_batch_is_larger_than_the_limit(limit, sizes):
    assert list(warm_up(SlowBackend(0.0), (2, 2, 1), limit)) == sizes


def test_a_batch_is_never_taken_for_slower_than_its_halves():
    class Disturbed(SlowBackend):
        def start(self, images: np.ndarray) -> np.ndarray:
            time.sleep(0.02 if len(images) == 2 else 0.004)
            return images

    seconds = warm_up(Disturbed(0.0), (2, 2, 1), 2)
    assert seconds[2] <= 2 * seconds[1]


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_version_that_would_write_a_file_is_refused_before_an_engine_sees_it(tmp_path, monkeypatch, engine):
    import tensorflow as tf

    def write(probabilities):
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "canary"), "written")]):
            return tf.identity(probabilities)

    bundle = make_bundle(tmp_path / "bundle")
    save(bundle, write)
    write_manifest(bundle, read_manifest(bundle))
    monkeypatch.setitem(loading.BACKENDS, engine, None)
    with pytest.raises(BrokenBundle, match=r"the operation WriteFile .*, which is not allowed: it writes files"):
        load(bundle, engine, "auto", 2)
    assert not (tmp_path / "canary").exists()


def test_a_tiny_network_is_computed_by_one_thread(digits_exports):
    loaded = load(digits_exports / "digits" / "1", "openvino", "auto", 8)
    assert loaded.backend.threads == 1
    assert list(loaded.seconds) == [1, 2, 4, 8]


MANIFEST = Manifest("toy", IMPORTED, ("a", "b"), InputSpec(4, 4, 1), {})


def test_an_engine_that_does_not_compute_a_model_gives_way_and_one_line_says_so(caplog):
    caplog.set_level("INFO")
    only_tensorflow = replace(MANIFEST, engines=("tensorflow",))
    assert loading.engine_for(only_tensorflow, "openvino") == "tensorflow"
    (record,) = caplog.records
    assert "toy is computed by tensorflow: openvino did not pass" in record.getMessage()
    assert loading.engine_for(only_tensorflow, "tensorflow") == "tensorflow"
    assert loading.engine_for(MANIFEST, "openvino") == "openvino"
    assert len(caplog.records) == 1


def test_a_model_for_tensorflow_alone_is_refused_in_a_sentence_where_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"toy is to be computed by TensorFlow, which is not installed here; .*service"):
        loading.engine_for(replace(MANIFEST, engines=("tensorflow",)), "openvino")
    assert loading.engine_for(MANIFEST, "openvino") == "openvino"


def test_labels_of_which_an_image_has_any_number_may_change_places_within_the_precision(tmp_path):
    """A classifier's most probable class may not: nearly equal ones alone change places."""

    class Rounded(SlowBackend):
        def finish(self, started: np.ndarray) -> np.ndarray:
            return np.array([[0.50004, 0.50008, 0.2]], np.float32)

    bundle = make_bundle(tmp_path / "bundle")
    golden = [{"file": "0", "probabilities": [0.50013, 0.5, 0.2]}]
    (bundle / GOLDEN / "probabilities.json").write_text(json.dumps(golden))
    manifest = read_manifest(bundle)
    with pytest.raises(loading.Unfaithful):
        loading.check_golden(Rounded(0.0), bundle, manifest)
    loading.check_golden(Rounded(0.0), bundle, replace(manifest, task="multi_label"))


AS_PRECISELY_AS_ASKED = """
import pathlib, sys
import numpy as np
from service.engine.loading import load
from service.machine import available_cores, has_bfloat16

bundle = pathlib.Path(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
exact = load(bundle, "tensorflow", "float32", 2).backend
expected = exact.infer(images)
assert (exact.precision, exact.threads) == ("float32", available_cores())
if has_bfloat16():
    rounded = load(bundle, "tensorflow", "bfloat16", 2).backend
    assert rounded.precision == "bfloat16"
    assert 0 < np.abs(rounded.infer(images) - expected).max() < 0.05
chosen = load(bundle, "tensorflow", "auto", 2).backend
assert (np.abs(chosen.infer(images) - expected).max() > 0) == (chosen.precision == "bfloat16")
try:
    load(bundle, "tensorflow", "float16", 2)
except ValueError as error:
    assert "not in float16" in str(error)
else:
    raise AssertionError("this CPU has no float16")
"""


def test_tensorflow_computes_as_precisely_as_it_is_asked_to(digits_exports):
    python("-c", AS_PRECISELY_AS_ASKED, digits_exports / "digits" / "1")


def test_what_the_processor_can_multiply_is_read_from_what_the_kernel_says(tmp_path):
    cpu_info = tmp_path / "cpuinfo"
    assert not has_bfloat16(cpu_info=cpu_info)
    cpu_info.write_text("flags\t\t: fpu avx512f\n")
    assert not has_bfloat16(cpu_info=cpu_info)
    cpu_info.write_text("flags\t\t: fpu avx512f avx512_bf16\n")
    assert has_bfloat16(cpu_info=cpu_info)


def test_what_is_done_aside_has_the_lowest_priority():
    assert Pace(considerate=True).at_low_priority(lambda: priority(threading.get_native_id())) == LOWEST
    assert priority(threading.get_native_id()) != LOWEST


LOAD_ASIDE = """
import os, pathlib, sys
import numpy as np
from service.engine.loading import OpenVINO, without_threads
from service.engine.pace import Pace

pace = Pace(considerate=True, has_idle_time=True)
with without_threads(OpenVINO, pace):
    backend = OpenVINO(pathlib.Path(sys.argv[1]), "float32", pace)
    pace.at_low_priority(lambda: backend.infer(np.zeros((1, 64, 64, 1), np.uint8)))
for _ in range(20):
    backend.infer(np.zeros((1, 64, 64, 1), np.uint8))
assert backend.threads > 1, "too small a network for this test"
for thread in pathlib.Path("/proc/self/task").iterdir():
    fields = (thread / "stat").read_text().rsplit(")", 1)[1].split()
    print(os.getpriority(os.PRIO_PROCESS, int(thread.name)), int(fields[11]) + int(fields[12]))
"""


@pytest.mark.skipif(available_cores() == 1, reason="one core computes alone")
def test_the_threads_that_compute_have_full_priority_though_the_model_was_loaded_aside(tmp_path):
    import tensorflow as tf

    kernels = [tf.Variable(tf.ones((3, 3, channels, 256))) for channels in (1, 256, 256)]

    @tf.function(input_signature=[tf.TensorSpec((None, 64, 64, 1), tf.uint8, "images")])
    def classify(images):
        features = tf.cast(images, tf.float32)
        for kernel in kernels:
            features = tf.nn.conv2d(features, kernel, 1, "SAME")
        return {"probabilities": tf.nn.softmax(tf.reduce_mean(features, (1, 2)))}

    module = tf.Module()
    module.kernels = kernels
    tf.saved_model.save(module, str(tmp_path), {"serving_default": classify})
    command = [sys.executable, "-c", LOAD_ASIDE, str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    threads = [tuple(map(int, line.split())) for line in output.splitlines()]
    busiest = sorted(threads, key=lambda thread: thread[1])[-available_cores() :]
    assert all(nice == priority(0) for nice, _ in busiest)


def test_an_error_aside_is_an_error_here():
    def fail() -> None:
        raise ValueError("no such bundle")

    for pace in (AT_ONCE, Pace(considerate=True)):
        with pytest.raises(ValueError, match="no such bundle"):
            pace.at_low_priority(fail)


def test_who_is_considerate_rests_after_work():
    started = time.monotonic()
    seconds, result = Pace(considerate=True).timed(lambda: time.sleep(0.02) or "done")
    assert result == "done"
    assert time.monotonic() - started > 3 * seconds


def priority(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


@pytest.mark.parametrize(
    ("devices", "has_tensorflow", "engine", "why"),
    [
        ((), True, "openvino", "there is no NVIDIA GPU here"),
        (("nvidiactl", "nvidia-uvm", "nvidia-caps"), True, "openvino", "there is no NVIDIA GPU here"),
        (("nvidia1", "nvidiactl"), True, "tensorflow", "on /dev/nvidia1"),
        (("nvidia0", "nvidia12"), True, "tensorflow", "on /dev/nvidia0, /dev/nvidia12"),
        (("nvidia1",), False, "openvino", "since TensorFlow, which would use /dev/nvidia1, is not installed here"),
    ],
)
def test_any_nvidia_gpu_is_seen_and_the_choice_of_the_engine_is_explained(
    tmp_path, monkeypatch, devices, has_tensorflow, engine, why
):
    """A container that is given a machine's second GPU has no /dev/nvidia0."""
    for device in devices:
        (tmp_path / device).touch()
    found = [name.replace(str(tmp_path), "/dev") for name in machine.nvidia_gpus(devices=tmp_path)]
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: found)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: object() if has_tensorflow else None)
    chosen, reason = machine.choose_engine("auto")
    assert chosen == engine
    assert why in reason
    assert machine.choose_engine("openvino") == ("openvino", "as SERVICE_ENGINE says")


def test_the_next_engine_of_a_version_takes_over_what_the_last_has_found_out(digits_exports, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(digits_exports / "digits" / "1", bundle)
    first = load(bundle, "openvino", "auto", 8)
    verdict = Verdict.from_json(json.loads(json.dumps(asdict(first.verdict(bundle, available_cores())))))
    again = load_again(bundle, verdict, 8)
    assert again is not None
    assert (again.backend.precision, again.backend.threads) == (first.backend.precision, first.backend.threads)
    assert again.seconds == first.seconds
    images = np.random.default_rng(0).integers(0, 255, (2, *first.manifest.input_spec.shape), np.uint8)
    assert np.allclose(again.backend.infer(images), first.backend.infer(images), atol=1e-6)


def test_what_the_last_engine_found_out_holds_only_for_the_files_that_it_has_verified(digits_exports, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(digits_exports / "digits" / "1", bundle)
    verdict = load(bundle, "openvino", "auto", 8).verdict(bundle, available_cores())
    weights = next((bundle / "variables").glob("*.data-*"))
    weights.write_bytes(weights.read_bytes())
    assert load_again(bundle, verdict, 8) is None
