"""One file a protocol: Striate's own, TensorFlow Serving's, Triton's, TorchServe's, and the OpenAPI document."""
