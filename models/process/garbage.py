"""The cycle collector of a process that answers requests: what is there once it has started is looked through no more.

A full collection looks at every object, and modules alone make hundreds of thousands: 30 to 40 ms, in which nobody is
answered. What requests leave behind is little.
"""

import gc

YOUNG = 20_000  # new objects before the young ones are looked through; Python's 700 come with every other request


def spare_what_is_there() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
