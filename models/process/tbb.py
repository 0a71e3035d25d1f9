"""The threads of oneTBB, the library by which OpenVINO shares out its work."""

import ctypes
from importlib.util import find_spec
from pathlib import Path

MAX_ALLOWED_PARALLELISM = 0  # the parameter of tbb::global_control


class GlobalControl(ctypes.Structure):
    """tbb::global_control, as oneTBB lays it out (oneapi/tbb/global_control.h)."""

    _fields_ = (("value", ctypes.c_size_t), ("reserved", ctypes.c_ssize_t), ("parameter", ctypes.c_int))


class Threads:
    """Those of this process.

    TBB starts a thread when there is work for one more, and it has the priority of the thread that has that work, for
    good. A model that is compiled in idle time would leave threads behind that compute in idle time only. So the limit
    is one thread until the model is compiled, and then threads start with the first batch.
    """

    def __init__(self) -> None:
        self._limit: GlobalControl | None = None

    def hold(self) -> None:
        """Start none until they are released."""
        if self._limit is None:
            limit = GlobalControl(value=1, parameter=MAX_ALLOWED_PARALLELISM)
            load_tbb()._ZN3tbb6detail2r16createERNS0_2d114global_controlE(ctypes.byref(limit))
            self._limit = limit

    def release(self) -> None:
        if self._limit is not None:
            load_tbb()._ZN3tbb6detail2r17destroyERNS0_2d114global_controlE(ctypes.byref(self._limit))
            self._limit = None


def load_tbb() -> ctypes.CDLL:
    """The library in OpenVINO's wheel.

    Raises:
        OSError: it has none.
    """
    spec = find_spec("openvino")
    assert spec is not None
    assert spec.origin is not None
    libraries = Path(spec.origin).parent / "libs"
    return ctypes.CDLL(str(next(libraries.glob("libtbb.so.*"), libraries / "libtbb.so")))
