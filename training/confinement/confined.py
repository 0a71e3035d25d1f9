"""The inside of `training.confinement.confinement`: a process that gives up its rights, and calls a module's `main`.

What is imported here, and before the rights are given up, is our own code only.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import models
import training
from models.errors import Failed, UserError
from models.process.parent import die_with_parent
from models.process.seccomp import forbid_new_privileges
from training.confinement.landlock import restrict_files
from training.confinement.seccomp import restrict_calls

ANSWER = "answer.json"
OPEN_FILES = 1024
LIBRARIES = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types")
MACHINE = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
CAPABILITIES_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3


def main() -> None:
    policy = json.loads(sys.argv[1])
    die_with_parent(signal.SIGKILL, policy["parent"])
    limit_resources(policy)
    import_parents(policy["module"])
    lacks = list(give_up_rights(policy))
    with os.fdopen(policy["report"], "w") as report:
        json.dump(lacks, report)
    answer = call(policy["module"], policy["arguments"])
    Path(policy["folder"], ANSWER).write_text(json.dumps(answer), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # the threads of TensorFlow need not be ended in order


def limit_resources(policy: dict[str, Any]) -> None:
    """RLIMIT_DATA counts what a process allocates; RLIMIT_AS would count 2 GB of libraries of TensorFlow as well."""
    limits = {
        resource.RLIMIT_DATA: policy["memory_bytes"],
        resource.RLIMIT_CPU: policy["cpu_seconds"],
        resource.RLIMIT_FSIZE: policy["file_bytes"],
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # systems other than Linux refuse some
            resource.setrlimit(kind, (limit, limit))


def import_parents(module: str) -> None:
    """The packages that the module lies in, whose folders are then known without a look into the folder of packages."""
    parts = module.split(".")[:-1]
    for end in range(1, len(parts) + 1):
        importlib.import_module(".".join(parts[:end]))


def give_up_rights(policy: dict[str, Any], platform: str = sys.platform) -> Iterator[str]:
    """Yields what could not be given up."""
    if platform != "linux":
        yield f"files, network, programs and memory are not limited on {platform}, only on Linux"
        return
    folder = Path(policy["folder"])
    package = sys.modules[policy["module"].partition(".")[0]]
    packages = [Path(path) for found in (models, training, package) for path in found.__path__]
    readable = [*packages, *python_folders(), *map(Path, (*LIBRARIES, *MACHINE, *DEVICES, *policy["readable"]))]
    try:
        forbid_new_privileges()
        restrict_files(readable=readable, writable=[folder, Path(os.devnull)])
    except OSError as error:
        yield f"access to files is not limited ({error})"
    drop_capabilities()
    try:
        restrict_calls()
    except OSError as error:
        yield f"network and programs are not denied ({error})"


def python_folders() -> list[Path]:
    """Where Python and its packages lie: an environment, the installation that it was made of, and folders of packages
    elsewhere that a `.pth` file names.
    """
    elsewhere = {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    return [Path(path) for path in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *elsewhere}]


def drop_capabilities() -> None:
    """Root without capabilities is bound by the modes of files as everybody else; other users have none to drop."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)())


def call(module: str, arguments: list[str]) -> dict[str, Any]:
    try:
        return {"answer": importlib.import_module(module).main(arguments)}
    except (UserError, Failed) as error:
        return {"error": str(error)}
    except MemoryError:
        raise
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
