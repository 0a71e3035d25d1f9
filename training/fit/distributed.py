"""Training on several devices or hosts: data parallelism by `keras.distribution`, which Keras has on JAX alone.

Every process runs the same command, with three variables that Keras reads: KERAS_DISTRIBUTION_JOB_ADDRESSES (host:port
of the first), KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID. Each makes the whole batch, which is
a function of (seed, epoch, step), and feeds its own devices their part; gradients, and the statistics of batch
normalisation, are of the whole. The first process leads: it alone writes, judges and exports.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from models.errors import UserError
from training.augment.loader import Batch
from training.fit.state import TrainState

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train one network."""

    rank: int = 0  # of this process, from 0, which leads
    size: int = 1  # of the group
    num_devices: int = 1  # of all processes

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part_of(self, batch: Batch) -> Batch:
        """What of a batch this process feeds."""
        count = len(batch[1]) // self.size
        own = slice(self.rank * count, (self.rank + 1) * count)
        inputs, targets = batch
        return [array[own] for array in inputs] if isinstance(inputs, list) else inputs[own], targets[own]

    def check_batch_size(self, batch_size: int) -> None:
        """
        Raises:
            UserError: the devices cannot have equal parts of it.
        """
        if batch_size % self.num_devices:
            raise UserError(
                f"{self.num_devices} devices cannot share batches of {batch_size} images equally; choose a "
                f"--batch-size that {self.num_devices} divides, and is at most the number of training images."
            )

    def share(self, state: TrainState, variables: list[keras.Variable]) -> TrainState:
        """The leader's state, and its values in everyone's variables."""
        if self.size == 1:
            return state
        from jax.experimental.multihost_utils import broadcast_one_to_all

        text = np.frombuffer(state.to_text().encode(), np.uint8)
        length = int(broadcast_one_to_all(np.array(len(text))))
        text = broadcast_one_to_all(np.resize(text, length))
        for variable in variables:
            variable.assign(np.asarray(broadcast_one_to_all(keras.ops.convert_to_numpy(variable))))
        return TrainState.from_text(np.asarray(text, np.uint8).tobytes().decode())


ALONE = Group()


def join_group() -> Group:
    """Make this process one of its group, and all devices one mesh, over which batches are spread.

    Raises:
        UserError: Keras does not run on JAX.
    """
    if keras.config.backend() != "jax":
        raise UserError(
            f"--distributed needs JAX, and Keras runs on {keras.config.backend()}: set KERAS_BACKEND=jax, in an "
            "environment with requirements-jax.txt."
        )
    import jax
    from jax.experimental.multihost_utils import sync_global_devices

    if os.environ.get(ADDRESSES):
        with native_stdout_on_stderr():  # JAX's CPU collectives print a message when they first connect
            keras.distribution.initialize()
            sync_global_devices("joined")
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((len(devices),), ["batch"], devices)
    keras.distribution.set_distribution(keras.distribution.DataParallel(device_mesh=mesh, auto_shard_dataset=False))
    return Group(jax.process_index(), jax.process_count(), len(devices))


@contextlib.contextmanager
def native_stdout_on_stderr() -> Iterator[None]:
    """Standard output is for lines that others read."""
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def leave_group(group: Group) -> None:
    """From here on this process computes alone."""
    if group is not ALONE:
        keras.distribution.set_distribution(None)
