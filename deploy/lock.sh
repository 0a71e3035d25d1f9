#!/bin/bash
# Write the lock files: every package that the images install, with its version and the checksums of its files.
#
#   deploy/lock.sh              packages that others need stay as they are, where the pins allow it
#   deploy/lock.sh --upgrade    takes their newest versions
#
# `pip install --require-hashes --requirement requirements-service.lock` takes no other file. UV names the program.
set -euo pipefail
cd "$(dirname "$0")/.."

for name in requirements-service requirements requirements-gpu; do
    "${UV:-uv}" pip compile "$name.txt" --output-file "$name.lock" --quiet --generate-hashes --universal \
        --python-version 3.11 --custom-compile-command deploy/lock.sh "$@"
done
