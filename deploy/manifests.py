"""Prints the chart as plain manifests, for those who do not use Helm.

    pip install helm-python-sdk==0.2.2 pyyaml
    python deploy/manifests.py --values mine.yaml > striate.yaml && kubectl apply --filename striate.yaml

It is what `helm template striate deploy/chart --values mine.yaml` prints.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, HelmError

CHART = Path(__file__).parent / "chart"


def manifests(values: dict[str, Any], *, name: str = "striate", namespace: str = "default") -> str:
    """
    Raises:
        HelmError: the values contradict each other, or one is missing.
    """
    rendered = Chart.load(str(CHART)).render(values, name=name, namespace=namespace)
    return "---\n".join(text.strip() + "\n" for _, text in sorted(rendered.items()) if text.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the chart as plain manifests.")
    parser.add_argument("--values", type=Path, help="YAML file of values; deploy/chart/values.yaml has all of them")
    parser.add_argument("--name", default="striate", help="of the release")
    parser.add_argument("--namespace", default="default")
    asked = parser.parse_args()
    values = yaml.safe_load(asked.values.read_text(encoding="utf-8")) if asked.values else {}
    try:
        print(manifests(values, name=asked.name, namespace=asked.namespace))
    except HelmError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
