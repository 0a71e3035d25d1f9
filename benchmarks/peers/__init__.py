"""Other servers with the same model, each in its own recommended form; `benchmarks.serving` starts them."""
