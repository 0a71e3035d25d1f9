"""Plain Flask, as most tutorials have it: one process, four threads, no batches."""

from flask import Flask, jsonify, request

from benchmarks.peers.model import Model, decode

app = Flask(__name__)
model = Model()


@app.post("/classify")
def classify():
    (answer,) = model.classify([decode(request.get_data())])
    return jsonify(answer)
