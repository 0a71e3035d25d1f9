"""An API key as the supervisor hands it to the HTTP workers."""

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each allows what those before it do


@dataclass(frozen=True, slots=True)
class Key:
    """One API key, whose text is known to nobody here.

    Attributes:
        digest: SHA-256 of the key, in hexadecimal.
        name: of whoever has it, for logs and metrics; keys of one name share its limits.
        rate: images a second, on average; 0: no limit.
        burst: images that may come at once after a pause.
        quota: images a day, by UTC; 0: no limit.
        row: in which the images of this name are counted (service.http.key_limits).
    """

    digest: str
    scope: Scope
    name: str = ""
    rate: float = 0.0
    burst: float = 0.0
    quota: int = 0
    row: int = -1

    @property
    def is_limited(self) -> bool:
        return bool(self.rate or self.quota)
