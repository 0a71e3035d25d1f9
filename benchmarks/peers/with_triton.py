"""Triton: the server in nvidia-pytriton's wheel, its Python backend, and batches of whoever comes within some time.

BENCH_WAIT_S says how long it waits for company. The raw body of a request is the model's one input, which a header of
the request says: Inference-Header-Content-Length: 0.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytriton

from benchmarks.peers.model import MAX_BATCH_SIZE, PORT, WAIT_S

CONFIG = """
name: "classify"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "image", data_type: TYPE_STRING, dims: [ 1 ] }} ]
output [ {{ name: "answer", data_type: TYPE_STRING, dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU, count: 1 }} ]
dynamic_batching {{ max_queue_delay_microseconds: {wait} }}
"""
MODEL = """
import sys

sys.path[:0] = {path!r}

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as triton

from benchmarks.peers.model import Model, decode

SMALL_BYTES = 4096  # an image that is decoded sooner than handed to a thread


class TritonPythonModel:
    def initialize(self, args):
        self.model = Model()
        self.threads = ThreadPoolExecutor({threads})

    def execute(self, requests):
        files = [triton.get_input_tensor_by_name(request, "image").as_numpy().ravel()[0] for request in requests]
        large = any(len(file) > SMALL_BYTES for file in files)
        images = list(self.threads.map(decode, files) if large else map(decode, files))
        answers = [json.dumps(row).encode() for row in self.model.classify(images)]
        return [
            triton.InferenceResponse([triton.Tensor("answer", np.array([[answer]], np.object_))]) for answer in answers
        ]
"""


def main() -> None:
    server = Path(pytriton.__file__).parent / "tritonserver"
    home = Path(tempfile.mkdtemp(prefix="striate-triton-"))
    version = home / "models" / "classify" / "1"
    version.mkdir(parents=True)
    wait_s = float(os.environ.get("BENCH_WAIT_S", WAIT_S))
    (version.parent / "config.pbtxt").write_text(CONFIG.format(batch=MAX_BATCH_SIZE, wait=int(1e6 * wait_s)))
    threads = len(os.sched_getaffinity(0))
    (version / "model.py").write_text(MODEL.format(path=[p for p in sys.path if p], threads=threads))
    shutil.copytree(server / "backends", home / "backends")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
    shutil.copy2(stub, home / "backends" / "python")
    libraries = [server.parents[1] / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR"))]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    arguments = [f"--model-repository={home / 'models'}", f"--backend-directory={home / 'backends'}"]
    arguments += [f"--http-port={PORT}", "--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false"]
    program = server / "bin" / "tritonserver"
    os.execv(program, [str(program), *arguments])


if __name__ == "__main__":
    main()
