"""Lists what is in an image: every package of Python and of Debian, as a CycloneDX document (https://cyclonedx.org).

    deploy/build-images.sh service-cpu
    python deploy/sbom.py build/service-cpu-root > service-cpu.cdx.json

It reads the files of the image, and runs nothing of it.
"""

import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

DPKG = Path("var/lib/dpkg/status")
FOLDERS = ("opt/striate/lib/python3*/site-packages",)
LONGEST_LICENSE = 100  # characters; some packages have the whole text where its name belongs


def bill_of_materials(root: Path) -> Bom:
    """
    Args:
        root: the files of an image, or of any machine.
    """
    bom = Bom()
    bom.metadata.component = Component(name=root.name.removesuffix("-root"), type=ComponentType.CONTAINER)
    for component in (*python_packages(root), *debian_packages(root)):
        bom.components.add(component)
        bom.register_dependency(bom.metadata.component, [component])
    return bom


def python_packages(root: Path) -> Iterator[Component]:
    paths = [str(path) for folder in FOLDERS for path in sorted(root.glob(folder))]
    for found in distributions(path=paths):
        name, version = found.metadata["Name"], found.version
        purl = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
        yield Component(
            name=name,
            version=version,
            purl=purl,
            type=ComponentType.LIBRARY,
            bom_ref=str(purl),
            licenses=[LicenseFactory().make_from_string(text) for text in [license_of(found)] if text],
        )


def license_of(found: Distribution) -> str:
    """Its expression, or what the package calls it; "" where it says nothing short."""
    metadata = found.metadata
    text = metadata.get("License-Expression") or metadata.get("License") or ""
    return text if len(text) < LONGEST_LICENSE and "\n" not in text else ""


def debian_packages(root: Path) -> Iterator[Component]:
    path = root / DPKG
    for paragraph in path.read_text(encoding="utf-8").split("\n\n") if path.exists() else ():
        fields = HeaderParser().parsestr(paragraph)
        if "installed" in (fields["Status"] or "").split():
            qualifiers = {"arch": fields["Architecture"]}
            purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers)
            yield Component(
                name=fields["Package"],
                version=fields["Version"],
                purl=purl,
                type=ComponentType.LIBRARY,
                bom_ref=str(purl),
            )


def main() -> None:
    root = Path(sys.argv[1])
    if not root.is_dir():
        sys.exit(f"{root} is no folder; deploy/build-images.sh makes build/service-cpu-root.")
    print(JsonV1Dot6(bill_of_materials(root)).output_as_string(indent=1))


if __name__ == "__main__":
    main()
