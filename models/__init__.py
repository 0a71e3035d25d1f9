"""What a model is: everything that training and serving share, and nothing of either.

This package, `models.preprocessing` and `models.bundle` import neither TensorFlow nor Keras, so that the CPU
service runs where they are not installed. `models.registry`, `models.describe` and the networks need Keras.
"""

from models.offline import stay_offline

stay_offline()
