"""What a network answers for many images."""

import keras
import numpy as np


def logits_of(model: keras.Model, images: np.ndarray, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """float32 (N, num_classes), of the network's own head where it has others; N may be 0.

    Args:
        images: uint8 (M, H, W, C), which may be mapped from a file.
        rows: int64 (N,), of the images that are asked about, in order.
    """
    output = model.output["logits"] if isinstance(model.output, dict) else model.output
    logits = np.empty((len(rows), output.shape[-1]), np.float32)
    for start in range(0, len(rows), batch_size):
        asked = rows[start : start + batch_size]
        full = np.resize(asked, batch_size)  # batches of one size: a network is compiled for each size anew
        answers = model.predict_on_batch(images[full])
        answers = answers["logits"] if isinstance(answers, dict) else answers
        logits[start : start + len(asked)] = np.asarray(answers)[: len(asked)]
    return logits
