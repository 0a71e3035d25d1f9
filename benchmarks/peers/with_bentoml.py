"""BentoML: a service that takes one file, and below it one that batches."""

from pathlib import Path

import bentoml
import numpy as np

from benchmarks.peers.model import MAX_BATCH_SIZE, Model, decode


@bentoml.service(workers=1)
class Network:
    def __init__(self):
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=10_000)
    def classify(self, images: np.ndarray) -> list[list[tuple[str, float]]]:
        return self.model.classify(list(images))


@bentoml.service(workers=1, traffic={"max_concurrency": 256})
class Classifier:
    network = bentoml.depends(Network)

    @bentoml.api(route="/classify")
    async def classify(self, image: Path) -> list[tuple[str, float]]:
        (answer,) = await self.network.to_async.classify(images=decode(image.read_bytes())[None])
        return answer
