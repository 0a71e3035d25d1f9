"""A Flask view that does nothing: what gunicorn and Flask themselves take. benchmarks.overhead runs it."""

from flask import Flask

app = Flask(__name__)


@app.post("/")
def nothing() -> str:
    return "{}"
