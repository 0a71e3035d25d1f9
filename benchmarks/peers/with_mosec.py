"""mosec: a stage of processes that decode, and one that computes batches."""

import os

from mosec import Server, Worker

from benchmarks.peers.model import MAX_BATCH_SIZE, WAIT_S, Model, decode


class Decode(Worker):
    def deserialize(self, data):
        return data

    def forward(self, data):
        return decode(data)


class Classify(Worker):
    def __init__(self):
        self.model = Model()

    def forward(self, data):
        return self.model.classify(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=len(os.sched_getaffinity(0)))
    server.append_worker(Classify, num=1, max_batch_size=MAX_BATCH_SIZE, max_wait_time=int(1000 * WAIT_S))
    server.run()
