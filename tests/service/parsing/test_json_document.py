"""JSON is read strictly, whichever of the two parsers reads it."""

import json
import random

import pytest

from service.errors import BadRequest, ServiceError
from service.parsing.json_document import has_plain_keys, parse_json, refuse_constant, unique_keys

DOCUMENTS = (
    b'{"instances": [[0, 1.5, -2e3], [true, null, "x"]]}',
    b'{"inputs": [{"name": "images", "shape": [1, 2], "data": [7, 255], "datatype": "UINT8"}]}',
    b'{"a": {"b": {"c": [[], {}, ""]}}, "d": 18446744073709551616}',
    b'["caf\xc3\xa9", "\\u00e9\\n", {"k:1": "v"}]',
)
HARMS = b'"":,[]{}01.eE+-\\ \t\x00\x7f\xff\xc3ntfu'


def strictly(body: bytes) -> object:
    return json.loads(body.decode(), object_pairs_hook=unique_keys, parse_constant=refuse_constant)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_both_parsers_take_the_same_documents_for_the_same(document: bytes) -> None:
    assert parse_json(document) == strictly(document)
    drawn = random.Random(0)
    outcomes = {True: 0, False: 0}
    for _ in range(20_000):
        body = bytearray(document)
        for _ in range(drawn.randint(1, 3)):
            at = drawn.randrange(len(body))
            body[at : at + drawn.randint(0, 2)] = bytes(drawn.choices(HARMS, k=drawn.randint(0, 2)))
        try:
            expected = repr(strictly(bytes(body)))
        except (ValueError, RecursionError):
            with pytest.raises(ServiceError):
                parse_json(bytes(body))
            outcomes[False] += 1
        else:
            if "inf" not in expected:  # 1e999, which no tensor takes
                assert repr(parse_json(bytes(body))) == expected, bytes(body)
            outcomes[True] += 1
    assert min(outcomes.values()) > 500


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"x": {"a": 1, "b" : 2, "a"\n:3}}',
        b'{"x": ":", "b": "y", "x": 0}',
        b'{"": 1, "": 2}',
        b"{" + b",".join(b'"%d": 0' % (i % 60) for i in range(61)) + b"}",
    ],
)
def test_a_key_that_is_repeated_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="a key is repeated"):
        parse_json(body)


def test_the_fast_parser_reads_what_clients_send() -> None:
    assert all(has_plain_keys(document) for document in DOCUMENTS[:3])
    assert not has_plain_keys(DOCUMENTS[3])
