"""Messages between HTTP workers and engines: one ZeroMQ frame an image, fixed binary headers, no pickle.

A request is REQUEST and then the pixels (uint8, H x W x C); a reply is REPLY and then the probabilities (float32),
of which there are none unless the status is OK. A request's id alone says that nobody waits for its answer any more.
Times are of CLOCK_MONOTONIC, which processes share.
"""

import struct

REQUEST = struct.Struct("<16sBdd")  # id; times its engine died so far; deadline; time sent
REPLY = struct.Struct("<16sBdd")  # id; status; times at which its batch began and was done, 0 where it never was
ID_BYTES = 16

OK = 0
EXPIRED = 1  # the deadline had passed before its turn came
REFUSED = 2  # the pixels are not of the model's shape
FAILED = 3  # the model raised, or gave no finite answer
