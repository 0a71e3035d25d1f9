"""`striate` as the pages' commands run it in the tests: training is short, whatever the page leaves to its defaults."""

import sys

from striate.cli import main

SHORT = {  # command: (flag, value) of what a page does not say itself
    "train": (("--from", "scratch"), ("--model", "lenet5"), ("--size", "32"), ("--epochs", "2"), ("--dropout", "0")),
    "lr-find": (("--model", "lenet5"), ("--size", "32"), ("--num-steps", "10")),
    "preview": (("--model", "lenet5"),),
}
EXCLUSIVE = {"--model": ("--from", "--recipe"), "--epochs": ("--steps", "--train"), "--size": ("--from", "--recipe")}


def shortened(arguments: list[str]) -> list[str]:
    given = {argument.partition("=")[0] for argument in arguments}
    more: list[str] = []
    for flag, value in SHORT.get(arguments[0], ()) if arguments and not {"--help", "-h"} & given else ():
        if not given & {flag, *EXCLUSIVE.get(flag, ())}:
            more += [flag, value]
    return [*arguments, *more]


if __name__ == "__main__":
    main(shortened(sys.argv[1:]), prog_name="striate")
