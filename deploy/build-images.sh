#!/bin/bash
# Build images where no container engine runs: as root, with Debian's buildah and debootstrap.
#
#   deploy/build-images.sh [service-cpu | training | service]...
#
# The base is a small Debian of our own making. Debian's and Python's packages come from wherever apt and pip of this
# machine take them; PYTHON is the interpreter whose pip fetches (python3). Everything stays in build/:
#
#   build/containers     what buildah keeps: the images striate-base and striate:TARGET
#   build/wheels         what pip has fetched
#   build/TARGET-root    the files of an image, as `chroot` takes them
#   build/TARGET.json    what the image says of itself: its command, variables, user, health check
#   build/TARGET.inputs  checksum of what it was made from; while that holds, there is nothing to do
set -euo pipefail
cd "$(dirname "$0")/.."

RELEASE=bookworm # its Python is 3.11
MIRROR=http://deb.debian.org/debian

main() {
    mkdir -p build
    exec 9>build/lock
    flock 9 # one build at a time
    for target in "${@:-service-cpu}"; do
        if [[ $(cat "build/$target.inputs" 2>/dev/null) != "$(checksum)" ]]; then
            build "$target" >&2
        fi
        report_size "$target"
    done
}

checksum() {
    find Dockerfile .dockerignore deploy/build-images.sh requirements*.lock models service striate training \
        -name __pycache__ -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
}

build() {
    local target=$1 inputs
    inputs=$(checksum)
    rm -rf "build/$target.inputs" "build/$target-root"
    fetch_wheels "$target"
    in_storage inspect --type image striate-base &>/dev/null || make_base
    # /mnt is there already: a new directory to mount upon would stay in the image.
    # Docker's image format, because OCI's has no health check.
    in_storage bud --isolation chroot --format docker --target "$target" --tag "striate:$target" \
        --build-arg BASE=localhost/striate-base --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/mnt \
        --volume "$PWD/build/wheels:/mnt:ro" --output "type=local,dest=build/$target-root" .
    chmod 755 "build/$target-root" # buildah makes it for root alone
    in_storage inspect --type image "striate:$target" >"build/$target.json"
    in_storage rmi --prune --force # what the stages left
    echo "$inputs" >"build/$target.inputs"
}

fetch_wheels() {
    local lock
    case $1 in
    service-cpu) lock=requirements-service.lock ;;
    training) lock=requirements.lock ;;
    service) lock=requirements-gpu.lock ;;
    *) echo "No image is called $1; there are service-cpu, training and service." && exit 2 ;;
    esac
    "${PYTHON:-python3}" -m pip download -qq --dest build/wheels --require-hashes \
        --only-binary :all: --python-version 3.11 --requirement "$lock"
    # The first stage of every image installs these.
    "${PYTHON:-python3}" -m pip download -qq --dest build/wheels --require-hashes \
        --only-binary :all: --python-version 3.11 --requirement requirements-service.lock
}

make_base() {
    local container tree mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $RELEASE" 'Identifier: Packages' | sed -n 1p)
    container=$(in_storage from scratch)
    trap "in_storage rm $container" EXIT
    tree=$(in_storage mount "$container")
    debootstrap --variant=minbase --include=python3,python3-venv "$RELEASE" "$tree" "${mirror:-$MIRROR}"
    # As in Debian's slim images: no package lists, manuals or translations; the licences stay.
    rm -r "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{man,info,locale,lintian}/*
    find "$tree/usr/share/doc" -type f ! -name copyright -delete
    in_storage commit --quiet "$container" striate-base
    in_storage rm "$container"
    trap - EXIT
}

in_storage() {
    buildah --storage-driver vfs --root "$PWD/build/containers" --runroot "$PWD/build/containers/run" "$@"
}

report_size() {
    local root=build/$1-root packages
    packages=$(echo "$root"/opt/striate/lib/python3*/site-packages)
    echo "$1: $(megabytes "$root") MB, of which $(megabytes "$packages") MB are packages; the largest are"
    du -sm "$packages"/* | sort -rn | sed -n "1,5s|$packages/||p"
}

megabytes() {
    du -sm "$1" | cut -f1
}

main "$@"
