"""Answers of the Open Inference Protocol: tensors in JSON, or binary behind it.

Triton's binary_tensor_data and classification extensions
(https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

import json
from typing import Any

import numpy as np
from flask import Response

from models.bundle.reference import most_probable
from service.http.json_body import respond
from service.inference.targets import Target
from service.parsing.open_inference import HEADER_LENGTH, OUTPUT, Inference


def answer_of(target: Target, asked: Inference, probabilities: np.ndarray) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}
    data: list[Any] = probabilities.ravel().tolist()
    packed = probabilities.astype("<f4").tobytes()
    if asked.num_classes:
        rows = [classification(row, target.route.class_names, asked.num_classes) for row in probabilities]
        output |= {"datatype": "BYTES", "shape": [len(rows), len(rows[0])]}
        data = [text for row in rows for text in row]
        packed = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in data)
    answer: dict[str, Any] = {"model_name": target.name, "model_version": str(target.version)}
    if asked.id is not None:
        answer["id"] = asked.id
    if not asked.binary:
        return respond({**answer, "outputs": [{**output, "data": data}]})
    head = json.dumps({**answer, "outputs": [{**output, "parameters": {"binary_data_size": len(packed)}}]}).encode()
    return Response(head + packed, mimetype="application/octet-stream", headers={HEADER_LENGTH: str(len(head))})


def classification(row: np.ndarray, class_names: tuple[str, ...], count: int) -> list[str]:
    """`probability:index:label`, the most probable first."""
    return [f"{row[i]:f}:{i}:{class_names[i]}" for i in most_probable(row, count)]
