"""One network's training step, as `fit` takes it: `python -m benchmarks.training_step NETWORK SIDE BATCH STEPS` prints
seconds per step, one a line.
"""

import sys
import time

import numpy as np

from models.process.quiet import import_quietly

WARM_UP = 3  # steps
CLASSES = {32: 10, 224: 1000}


def main(network: str, side: int, batch_size: int, num_steps: int) -> None:
    import_quietly("tensorflow", "keras")
    from models.networks.registry import architecture_of
    from tests.training.decoded import decoded_images
    from training.config.settings import settings_for
    from training.fit.setup import make_repeatable
    from training.network.build import compile_for, trainable
    from training.network.losses import CrossEntropy
    from training.network.whitening import whiten

    num_classes = CLASSES[side]
    images = np.random.default_rng(0).integers(0, 256, (max(batch_size, num_classes), side, side, 3), np.uint8)
    decoded = decoded_images(images, np.arange(len(images)) % num_classes)
    settings = settings_for(architecture_of(network), batch_size=batch_size, learning_rate=1e-3)
    make_repeatable(0)
    model = trainable(decoded, settings, "mixed_bfloat16")
    whiten(model, decoded, np.arange(len(images)))
    compile_for(model, settings, CrossEntropy(np.ones(num_classes)), num_steps=1000, steps_per_epoch=100)
    batch, labels = images[:batch_size], decoded.labels[:batch_size]
    for step in range(WARM_UP + num_steps):
        started_s = time.perf_counter()
        model.train_on_batch(batch, labels)
        if step >= WARM_UP:
            print(time.perf_counter() - started_s, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
