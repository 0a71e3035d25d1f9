"""The names by which people call the splits of a data set, as folders and in tables."""

import re

SPLIT_NAME = re.compile(  # of a name in lower case, letters and digits alone
    r"[0-9]*(?:seg|images?|imgs?|data|dataset)?"
    r"(train|training|val|valid|validation|dev|test|testing|eval|evaluation)"
    r"(?:set|images?|imgs?|data|dataset|split)?[0-9]*"
)
SPLIT_WORDS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test", "eval": "test", "evaluation": "test"},
}


def split_of(name: str) -> str:
    """What a folder of this name is by custom: train, val, test; "" where it is none of them."""
    match = SPLIT_NAME.fullmatch(re.sub(r"[\W_]", "", name.lower()))
    return SPLIT_WORDS[match[1]] if match else ""


def split_in(name: str) -> str:
    """The split that a name has among its words, as asl_alphabet_train has; "" where there is none."""
    words = re.split(r"[\W_\d]+", name.lower())
    return split_of(name) or next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")
