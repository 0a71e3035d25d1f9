"""The exported model: its manifest, the decoder of its images, and the statistics of what it was tested on."""
