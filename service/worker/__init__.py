"""The HTTP process: gunicorn, its settings, and the Flask application."""
