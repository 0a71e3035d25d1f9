"""Ray Serve: one replica that batches what its requests decoded."""

import time

from ray import serve

from benchmarks.peers.model import MAX_BATCH_SIZE, PORT, WAIT_S, Model, decode


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Classifier:
    def __init__(self):
        self.model = Model()

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=WAIT_S)
    async def classify(self, images):
        return self.model.classify(images)

    async def __call__(self, request):
        return await self.classify(decode(await request.body()))


if __name__ == "__main__":
    serve.start(http_options={"port": PORT})
    serve.run(Classifier.bind(), route_prefix="/classify")
    while True:
        time.sleep(60)
