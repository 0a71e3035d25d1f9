"""The HTTP service: it serves exported bundles. Start it with `python -m service`.

supervisor   one process: watches exports/, starts and retires engines, writes routes.json, runs gunicorn
engine       one process per model version: batches whatever is waiting and runs the model
app          the HTTP workers' Flask application: decodes images, asks an engine, answers
"""
