"""Query parameters: one that a route does not know is refused, since `?topk=3` would otherwise do nothing, in silence.

Which a route knows is what /openapi.json says of it. Probes, pages, /metrics and static files take any: whoever asks
them often adds some, as `?verbose` or a number against caches.
"""

import re
from collections.abc import Iterable

from service.errors import BadRequest
from service.protocols.openapi import DOCUMENT

CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")  # of a rule of Flask's
KNOWN = {
    path: sorted(
        {
            parameter["name"]
            for operation in operations.values()
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "query"
        }
    )
    for path, operations in DOCUMENT["paths"].items()
}


def check_query(rule: str, given: Iterable[str]) -> None:
    """
    Args:
        rule: the route's pattern; one that /openapi.json does not have takes anything.

    Raises:
        BadRequest: a parameter is not known; lists those that are.
    """
    known = KNOWN.get(CONVERTER.sub(r"{\1}", rule))
    unknown = None if known is None else next((name for name in given if name not in known), None)
    if known is not None and unknown is not None:
        listed = f"this route knows {', '.join(known)}" if known else "this route knows none"
        raise BadRequest(f"There is no query parameter {unknown[:50]!r}: {listed}.")
