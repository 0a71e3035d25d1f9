"""Errors whose message is a sentence for the person who gave the command: what came, what is accepted, what to do.

A command prints these as one line (`models.process.commands`). Any other ValueError or RuntimeError is a mistake in the
code, and keeps its traceback.
"""


class UserError(ValueError):
    """What was given is wrong: a flag, a file, a folder, a name, or a combination of them."""


class Failed(RuntimeError):
    """What was given is accepted, and could not be done all the same."""


class BrokenBundle(UserError):
    """A bundle that must not be served; the message says what is wrong and what to do."""


class StoreAway(Failed):
    """An object store does not answer, or refuses; where a write was under way, it may have been done."""


class StoreChanged(Failed):
    """Another writer was faster: an object in a store is not as it was read."""
