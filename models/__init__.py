"""What a model is: everything that training and serving share, and nothing of either.

Only `models.networks` imports Keras, so that the CPU service runs where neither Keras nor TensorFlow is installed.
"""

from models.process.offline import stay_offline

stay_offline()
