"""The chart, rendered by Helm's own engine and compared with schemas; the container of KServe's runtime is run."""

import base64
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from kserve import InferInput, InferRequest

from models.bundle.preprocessing import InputSpec, decode_image
from service.config import Config
from service.config_file import gather
from tests.harness import RunningService, copy_of, golden_image, status_of, wait_until
from tests.processes import ROOT, environment, free_port, start
from tests.service.protocols.test_clients import ask_kserve

VERSIONS = ["1.27", "1.31", "1.35"]
LEAST = {"exportsClaim": "exports", "keysSecret": "keys"}
EVERYTHING = {
    **LEAST,
    "feedbackClaim": "feedback",
    "gpus": 1,
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}],
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "certificate"},
    "autoscaling": {"kind": "adapter"},
    "networkPolicy": {"fromNamespaces": ["web"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
    "serviceMonitor": {"enabled": True, "keySecret": {"name": "metrics", "key": "token"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/striate"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "podLabels": {"team": "vision"},
    "podAnnotations": {"note": "x"},
    "envFrom": [{"secretRef": {"name": "s3"}}],
    "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
}
CUSTOM = ("monitoring.coreos.com/v1", "keda.sh/v1alpha1")  # definitions of others, of which no schema is here


def helm(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm's engine is a library in Go, whose runtime has no place in the process of the tests."""
    command = [sys.executable, *([code] if code.endswith(".py") else ["-c", code]), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment())


def printed(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """What the command makes of these values."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(yaml.safe_dump(values))
        file.flush()
        return helm("deploy/manifests.py", "--values", file.name)


def rendered(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By their kinds."""
    done = printed(values)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout) if each}


def container(values: dict[str, Any]) -> dict[str, Any]:
    (found,) = rendered(values)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", [LEAST, EVERYTHING], ids=["least", "everything"])
def test_kubernetes_takes_what_the_chart_says(values: dict[str, Any], version: str) -> None:
    kinds = rendered(values)
    for manifest in kinds.values():
        if manifest["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"} <= kinds.keys()


def test_what_is_asked_for_is_there() -> None:
    kinds = rendered(EVERYTHING)
    assert {"Ingress", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule"} <= kinds.keys()
    assert "ScaledObject" in rendered({**EVERYTHING, "autoscaling": {"kind": "keda"}})
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    assert kinds["PrometheusRule"]["spec"] == rules


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keysSecret": "keys"}, "Where are the models"),
        ({"exportsClaim": "exports"}, "Who may classify"),
        ({**LEAST, "autoscaling": {"kind": "magic"}}, "it can be none, adapter or keda"),
        (
            {**LEAST, "settings": {"feedback": "/feedback"}},
            "settings.feedback is not taken here",
        ),
        ({**LEAST, "settings": {"admin_keys": "x"}}, "settings.admin_keys is not taken here: that is keysSecret"),
    ],
)
def test_values_with_which_no_pod_would_answer_are_an_error(values: dict[str, Any], message: str) -> None:
    refused = printed(values)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_settings_are_those_of_the_service(tmp_path: Path) -> None:
    values = {
        **LEAST,
        "settings": {"deadline_s": 2.5, "queue_bytes": 1_000_000_000, "cors_origins": ["https://a.example"]},
    }
    text = rendered(values)["ConfigMap"]["data"]["service.toml"]
    (tmp_path / "service.toml").write_text(text)
    assert tomllib.loads(text)["queue_bytes"] == 1_000_000_000
    gathered = gather({"SERVICE_CONFIG": str(tmp_path / "service.toml"), "SERVICE_KEYS_FILE": "k"})
    config = Config.from_environment(gathered.environment)
    assert (config.deadline_s, config.queue_bytes, config.drain_delay_s) == (2.5, 1_000_000_000, 5.0)


def test_the_variables_are_settings_and_every_folder_is_mounted() -> None:
    found = container(EVERYTHING)
    variables = {each["name"]: each["value"] for each in found["env"] if each["name"].startswith("SERVICE_")}
    known = variables.pop("SERVICE_CONFIG")
    Config.from_environment(variables)
    mounts = {mount["mountPath"] for mount in found["volumeMounts"]}
    for path in (
        known,
        variables["SERVICE_KEYS_FILE"],
        f"{variables['SERVICE_EXPORTS']}/x",
        f"{variables['SERVICE_CACHE']}/x",
    ):
        assert str(Path(path).parent) in mounts
    volumes = {volume["name"] for volume in rendered(EVERYTHING)["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert volumes == {mount["name"] for mount in found["volumeMounts"]}


def test_a_pod_has_the_time_that_the_service_takes_to_stop() -> None:
    values = {**LEAST, "settings": {"drain_delay_s": 7.5, "stop_timeout_s": 40}}
    pod = rendered(values)["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 3 + 7.5 + 40 + 2  # with the pause of preStop
    assert pod["enableServiceLinks"] is False


def test_an_object_store_needs_no_claim() -> None:
    values = {"settings": {"exports": "s3://models/exports", "allow_anonymous": True}}
    variables = {each["name"]: each["value"] for each in container(values)["env"]}
    assert variables["SERVICE_EXPORTS"] == "s3://models/exports"


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    code = f"import helm_python; print(helm_python.lint('deploy/chart', {LEAST!r}, strict=True)['errors'])"
    assert helm(code).stdout.strip() == "[]"


@pytest.fixture
def served(digits_exports: Path, tmp_path: Path) -> Iterator[RunningService]:
    """The container of KServe's runtime, where its storage initializer has put a version."""
    runtime, inference_service = yaml.safe_load_all((ROOT / "deploy" / "kserve.yaml").read_text())
    (found,) = runtime["spec"]["containers"]
    models = copy_of(digits_exports, tmp_path / "exports") / "digits" / "1"
    texts = {"/mnt/models": str(models), "{{.Name}}": inference_service["metadata"]["name"]}
    arguments = [texts.get(argument, argument) for argument in found["args"]]
    port, log = free_port(), tmp_path / "log"
    variables = {each["name"]: each["value"] for each in found["env"]} | {"SERVICE_PORT": str(port)}
    process = start("-m", "striate", *arguments, log=log, **variables)
    service = RunningService(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: status_of(service, found["readinessProbe"]["httpGet"]["path"]) == 200, service)
        yield service
    finally:
        assert service.stop() == 0, service.log()


def test_kserves_client_asks_a_model_by_the_name_of_its_inference_service(
    served: RunningService, digits_exports: Path
) -> None:
    image = golden_image(digits_exports)
    instances = {"instances": [{"b64": base64.b64encode(image).decode()}]}
    ready, answer = ask_kserve(served.url, "v1", instances)
    assert ready
    assert np.argmax(answer["predictions"], axis=1).tolist() == [3]
    tensor = InferInput("images", [1, 32, 32, 1], "UINT8")
    tensor.set_data_from_numpy(decode_image(image, InputSpec(32, 32, 1))[None], binary_data=True)
    ready, answer = ask_kserve(served.url, "v2", InferRequest(model_name="digits", infer_inputs=[tensor]))
    assert ready
    assert answer.outputs[0].as_numpy().argmax() == 3
