"""From a request's images to probabilities: choosing a version, queueing, asking an engine, surviving its death."""
