"""What a model is: everything that training and serving share, and nothing of either.

This package, `models.bundle.preprocessing` and `models.bundle.manifest` import neither TensorFlow nor Keras, so that the CPU
service runs where they are not installed. `models.networks.registry`, `models.networks.summary` and the networks need Keras.
"""

from models.process.offline import stay_offline

stay_offline()
