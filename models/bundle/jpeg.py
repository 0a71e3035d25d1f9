"""What a JPEG's header says of how it can be decoded, which Pillow does not tell."""

START_OF_SCAN = 0xDA
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers of a start of frame
SEQUENTIAL = {0xC0, 0xC1}  # baseline and extended, with Huffman codes
LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}


def read_frame(data: bytes) -> tuple[bool, bool]:
    """Whether an encoded JPEG is lossless, and whether it is streamed; neither if its header is malformed.

    A lossless one has no coefficients to leave out, so libjpeg cannot scale it while it decodes. A streamed one is
    sequential, with all components in its one scan: libjpeg then holds a few rows at a time, where others, such as
    progressive ones, take memory for the coefficients of the whole image.
    """
    at, frame, components = 2, 0, 0
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == START_OF_SCAN:
            return frame in LOSSLESS, frame in SEQUENTIAL and data[at + 4] == components
        if marker in FRAMES:
            frame, components = marker, data[at + 9]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return frame in LOSSLESS, False
