"""From the bytes of a body to images: pure functions, called in workers for small bodies, in decoders for others."""
