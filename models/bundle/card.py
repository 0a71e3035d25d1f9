"""The model card of a bundle, in Markdown: what is known of a model, for whoever decides whether to use it.

The headings are those of Mitchell et al., 2019, Model Cards for Model Reporting (https://arxiv.org/abs/1810.03993).
"""

from typing import Any

UNKNOWN = "Nothing is known of it here; ask those who made the model."
MOST_CLASSES = 100  # with a row of figures


def model_card(manifest: dict[str, Any]) -> str:
    """
    Args:
        manifest: as `Manifest.to_json` gives it.
    """
    sections = {
        "Model details": details(manifest),
        "Intended use": intended_use(manifest),
        "Factors": factors(manifest),
        "Metrics": metrics(manifest),
        "Evaluation data": evaluation_data(manifest),
        "Training data": training_data(manifest),
        "Quantitative analyses": analyses(manifest),
        "Ethical considerations": ["Striate knows nothing of what the images show, and checks no such risk."],
        "Caveats and recommendations": caveats(manifest),
    }
    body = "\n\n".join("\n".join([f"## {heading}", "", *lines]) for heading, lines in sections.items())
    return f"# Model card: {inline(manifest['model'])}\n\n{body}\n"


def details(manifest: dict[str, Any]) -> list[str]:
    lineage, spec = manifest["lineage"], manifest["input_spec"]
    start = (lineage.get("from") or {}).get("published") or {}
    facts = {
        "Network": manifest["architecture"],
        "Input": f"{spec['height']}x{spec['width']} pixels, {spec['channels']} channels, {spec['resize']}",
        "Created": lineage.get("created_at"),
        "Code": lineage.get("git_revision"),
        "Recipe": lineage.get("settings", {}).get("recipe"),
        "Started from": (lineage.get("from") or {}).get("model"),
        "Licence of these weights": start.get("licence"),
        "Version before": lineage.get("parent_version"),
        "Temperature": f"{manifest['temperature']:.3g}",
    }
    return [f"- {name}: {inline(value)}" for name, value in facts.items() if value is not None]


def intended_use(manifest: dict[str, Any]) -> list[str]:
    names = manifest["class_names"]
    listed = ", ".join(map(inline, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    many = "any number of" if manifest["task"] == "multi_label" else "one of"
    lines = [f"It gives an image {many} {len(names)} labels: {listed}."]
    if manifest["task"] != "multi_label":
        lines.append("It knows nothing else: an image of something else gets one of these labels, too.")
    return lines


def factors(manifest: dict[str, Any]) -> list[str]:
    if not manifest["reference"]:
        return [UNKNOWN]
    return [
        "Brightness, contrast, saturation and sharpness of its test images are in the manifest (`reference`). The "
        "service compares the images that it is sent with them, and reports drift."
    ]


def metrics(manifest: dict[str, Any]) -> list[str]:
    test = manifest["metrics"].get("test", {})
    shown = {
        "Accuracy": "accuracy",
        "Balanced accuracy": "balanced_accuracy",
        "Expected calibration error": "expected_calibration_error",
        "Negative log likelihood": "negative_log_likelihood",
    }
    rows = [f"- {name}: {test[key]:.4f}{of_interval(test, key)}" for name, key in shown.items() if key in test]
    return rows or ["Nothing was measured."]


def of_interval(test: dict[str, Any], key: str) -> str:
    low, high = test.get(f"{key}_interval", (None, None))
    return "" if low is None else f" (95 % interval {low:.4f} to {high:.4f})"


def evaluation_data(manifest: dict[str, Any]) -> list[str]:
    test = manifest["metrics"].get("test", {})
    if not test.get("num_images"):
        return ["There was none."]
    lines = [f"{test['num_images']:,} images of the same source, which no training and no choice has seen."]
    if "resolvable_difference" in test:
        points = 100 * test["resolvable_difference"]
        lines.append(f"So many can show differences between models of {points:.1f} points of accuracy or more.")
    return lines


def training_data(manifest: dict[str, Any]) -> list[str]:
    data = manifest["lineage"].get("data")
    if not data:
        return [UNKNOWN]
    start = (manifest["lineage"].get("from") or {}).get("published") or {}
    lines = [
        f"- Source: {inline(data['source'])}",
        f"- Fingerprint of the images: {inline(data['fingerprint'])}",
        f"- Images: {data['train']} to train, {data['val']} to validate, {data['test']} to test",
    ]
    return [*lines, *([f"- The weights it started from: {inline(start['data'])}"] if "data" in start else [])]


def analyses(manifest: dict[str, Any]) -> list[str]:
    classes = manifest["metrics"].get("test", {}).get("per_class", {})
    if not classes:
        return ["There are none."]
    rows = [
        f"| {inline(name)} | {row['num_images']} | {share(row['recall'])} | {share(row['precision'])} |"
        for name, row in list(classes.items())[:MOST_CLASSES]
    ]
    return ["| class | test images | recall | precision |", "|---|---|---|---|", *rows]


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def caveats(manifest: dict[str, Any]) -> list[str]:
    test = manifest["metrics"].get("test", {})
    lines = ["- Measure it on your own images before you rely on it (`striate evaluate`)."]
    if (test.get("calibration") or {}).get("method") == "none":
        lines.append("- Its confidence is not calibrated.")
    classes = {name: row for name, row in test.get("per_class", {}).items() if row["recall"] is not None}
    if classes:
        weakest = min(classes, key=lambda name: classes[name]["recall"])
        lines.append(f"- It recognizes {inline(weakest)} least: {classes[weakest]['recall']:.0%} of its test images.")
    return lines


def inline(value: Any) -> str:
    """Text as text: nothing of it is markup."""
    text = " ".join(str(value).split())
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|&" else character for character in text)
