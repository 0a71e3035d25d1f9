"""What the Dockerfile promises; and `service-cpu` built for real and run as a careful operator runs it.

The build wants root, buildah, debootstrap and a network, and takes two minutes: STRIATE_TEST_IMAGE=1 asks for it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from models.bundle.manifest import read_golden, read_manifest
from models.store.live import read_live
from tests.processes import ROOT, free_port

BUILD_TIMEOUT_S = 900.0
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
MAX_SIZE_MB = 370
TARGETS = ["service-cpu", "training", "service"]

# Runs a command in a root as a container engine would: as the image's user, alone with its processes, all read-only but
# an empty /tmp, with no capability and no way to get one. (A new user is no longer killed with his parent; so say it.)
CONTAIN = """
root=$1 exports=$2 user=$3
shift 3
mount --bind "$root" "$root"
mkdir -p "$root/exports"
mount --bind -o ro "$exports" "$root/exports"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o nosuid,nodev,noexec tmpfs "$root/tmp"
mount -t tmpfs -o nosuid,noexec,mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev,noexec,size=64m tmpfs "$root/dev/shm"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all --pdeathsig KILL "$@"
"""

builds_an_image = pytest.mark.skipif(
    os.environ.get("STRIATE_TEST_IMAGE") != "1",
    reason="builds an image as root, with buildah, debootstrap and a network: STRIATE_TEST_IMAGE=1 asks for it",
)


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its files, and what it says of itself in Docker's words."""

    root: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"])

    @property
    def packages(self) -> Path:
        (packages,) = self.root.glob("opt/striate/lib/python3*/site-packages")
        return packages


@dataclass(frozen=True, slots=True)
class Container:
    """The image's command, running.

    Attributes:
        process: its `unshare`, which ends with the command's status.
        pid: of the command itself, as seen from outside.
    """

    image: Image
    process: subprocess.Popen[str]
    pid: int
    url: str

    def execute(self, *command: str, **variables: str) -> int:
        """The status of a command beside the service: what `docker exec` does."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--wd"]
        environment = {**self.image.environment, **variables}
        return subprocess.run([*enter, *command], env=environment, stderr=subprocess.DEVNULL).returncode


@pytest.fixture(scope="module")
def image() -> Image:
    """`service-cpu`, built by the script that CI and people use."""
    environment = {**os.environ, "PYTHON": sys.executable}
    build = subprocess.run(
        [ROOT / "deploy/build-images.sh", "service-cpu"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    assert build.returncode == 0, build.stdout
    inspected = json.loads((ROOT / "build/service-cpu.json").read_text())
    return Image(ROOT / "build/service-cpu-root", inspected["Docker"]["config"])


@pytest.fixture
def container(image: Image, digits_exports: Path) -> Iterator[Container]:
    port = str(free_port())
    contain = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", CONTAIN, "sh"]
    process = subprocess.Popen(
        [*contain, image.root, digits_exports, image.config["User"], *image.config["Entrypoint"], *image.config["Cmd"]],
        env={
            **image.environment,
            "HOME": "/",  # engines complain of a user without one
            "SERVICE_PORT": port,
            "SERVICE_ALLOW_ANONYMOUS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until_announced(process)
        pid = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        url = f"http://127.0.0.1:{port}"
        assert patient().get(f"{url}/readyz", timeout=10).ok
        yield Container(image, process, pid, url)
    finally:
        process.kill()
        process.communicate()


def wait_until_announced(process: subprocess.Popen[str]) -> None:
    """Read its output until it says that it answers; fail with all of it where it ends first or takes too long."""
    too_long = threading.Timer(READY_TIMEOUT_S, process.kill)
    too_long.start()
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if line.startswith("Striate answers at"):
            too_long.cancel()
            return
    too_long.cancel()
    pytest.fail("the image's service never answered:\n" + "".join(lines))


def patient() -> requests.Session:
    """A client that asks again when it is told 503: each HTTP worker hears on its own that a model is live."""
    again = Retry(100, backoff_factor=0.05, backoff_max=0.2, status_forcelist=[503], allowed_methods=None)
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=again))
    return session


# Built and run


@builds_an_image
def test_the_cpu_image_reads_a_digit_without_tensorflow(container: Container, digits_exports: Path) -> None:
    home = digits_exports / "digits"
    bundle = home / str(read_live(home).live)
    image, probabilities = read_golden(bundle)[0]
    answer = patient().post(f"{container.url}/models/digits/classify", data=image, timeout=10).json()
    expected = read_manifest(bundle).class_names[probabilities.index(max(probabilities))]
    assert [prediction["label"] for prediction in answer["predictions"]] == [expected]
    assert not list(container.image.packages.glob("tensorflow*"))


@builds_an_image
def test_the_cpu_image_drains_and_ends_with_0_when_it_is_stopped(container: Container) -> None:
    os.kill(container.pid, getattr(signal, container.image.config["StopSignal"]))
    output, _ = container.process.communicate(timeout=STOP_TIMEOUT_S)
    assert container.process.returncode == 0, output
    assert '"stopped"' in output


@builds_an_image
def test_the_health_check_tells_a_ready_service_from_none(container: Container) -> None:
    kind, *check = container.image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    port = container.url.rpartition(":")[2]
    assert container.execute(*check, SERVICE_PORT=port) == 0
    assert container.execute(*check, SERVICE_PORT=str(free_port())) != 0


@builds_an_image
def test_the_cpu_image_compiles_nothing_when_it_starts(image: Image) -> None:
    """Its root is read-only, so it would compile the same files again at every start of every process."""
    modules = (
        "service.supervisor.supervisor, service.engine.loop, service.worker.app, openvino, gunicorn.app.wsgiapp, gevent"
    )
    command = ["chroot", image.root, image.config["Entrypoint"][0], "-v", "-c", f"import {modules}"]
    done = subprocess.run(command, env=image.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"code object from '?(/(?:app|opt)/\S+\.py)\b", done.stderr) == []


@builds_an_image
def test_the_cpu_image_holds_only_what_it_needs(image: Image) -> None:
    size = subprocess.run(["du", "-sm", image.root], capture_output=True, text=True, check=True).stdout
    assert int(size.split()[0]) <= MAX_SIZE_MB
    installed = {path.name for path in image.packages.iterdir()}
    assert not installed & {"pip", "setuptools", "keras", "sklearn"}
    assert sorted(path.name for path in (image.root / "app").iterdir()) == ["bin", "models", "service", "striate"]


# Promised by the Dockerfile


def read_stages() -> dict[str, tuple[str, list[str]]]:
    """{name: (what it starts from, its instructions)} in the Dockerfile's order; "" is what precedes the first."""
    text = (ROOT / "Dockerfile").read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.M)).splitlines()
    stages: dict[str, tuple[str, list[str]]] = {"": ("", [])}
    for line in filter(None, lines):
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            stages[start[2]] = (start[1], [])
        else:
            stages[list(stages)[-1]][1].append(line)
    return stages


def value_of(instruction: str, stage: str) -> str | None:
    """What an instruction says in a stage, or in one that it starts from."""
    stages = read_stages()
    while stage in stages:
        start, lines = stages[stage]
        said = [line.split(maxsplit=1)[1] for line in lines if line.split()[0] == instruction]
        if said:
            return said[-1]
        stage = start
    return None


def test_the_gpu_service_is_the_image_that_is_built_when_none_is_named() -> None:
    assert [stage for stage in read_stages() if stage in TARGETS] == TARGETS
    assert list(read_stages())[-1] == "service"


def test_every_stage_starts_from_the_base_that_is_an_argument() -> None:
    stages = read_stages()
    assert {start for start, _ in stages.values()} - stages.keys() == {"${BASE}"}


def test_the_base_names_its_release() -> None:
    assert re.fullmatch(r"BASE=\S+:[\d.]+\S+", value_of("ARG", "") or "")


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_runs_as_root(target: str) -> None:
    user, _, group = (value_of("USER", target) or "").partition(":")
    assert int(user) >= 10000  # a number, so that Kubernetes can tell that it is not root's
    assert int(group) >= 10000


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_its_program_without_a_shell(target: str) -> None:
    """A shell in between would keep SIGTERM for itself."""
    python, *rest = json.loads(value_of("ENTRYPOINT", target) or "")
    assert python.startswith("/")
    assert rest == ["-m", "striate"]
    assert json.loads(value_of("CMD", target) or "") == (["--help"] if target == "training" else ["serve"])
