"""LitServe: files of a form, batches of whoever comes within a few milliseconds."""

import litserve

from benchmarks.peers.model import MAX_BATCH_SIZE, PORT, WAIT_S, Model, decode


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.model = Model()

    def decode_request(self, request):
        return decode(request["content"].file.read())

    def batch(self, inputs):
        return inputs

    def predict(self, images):
        return self.model.classify(images)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"output": output}


if __name__ == "__main__":
    api = Classifier(max_batch_size=MAX_BATCH_SIZE, batch_timeout=WAIT_S, api_path="/classify")
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(port=PORT, generate_client_file=False)
