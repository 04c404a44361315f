"""deploy/ against a policy checker (checkov): what it finds is mended, or is here with the reason why not.

`make test-long` makes the checker's own environment, `.policy-venv`; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from weather_backfill_tests.deploy import chart
from weather_backfill_tests.platform import PROJECT

CHECKOV = Path(os.environ.get("CHECKOV", PROJECT / ".policy-venv" / "bin" / "checkov"))
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CHECKOV.exists(), reason="no checkov here: `make .policy-venv/ready`"),
]
DEPLOY = PROJECT / "deploy"

ACCEPTED = {
    "dockerfile": {
        ("CKV_DOCKER_7", "/Dockerfile.FROM"): "a tag, or the digest that the builder has looked at: --build-arg BASE",
        ("CKV_DOCKER_7", "/ecs/Dockerfile.FROM"): "the image of deploy/Dockerfile, as IMAGE",
        ("CKV_DOCKER_2", "/Dockerfile."): "one image of several programs: ECS, Kubernetes and compose check each",
        ("CKV_DOCKER_2", "/ecs/Dockerfile."): "as above",
        ("CKV_DOCKER_3", "/ecs/Dockerfile."): "the image it begins with has made the user, and runs as it",
    },
    "cloudformation": {
        ("CKV_AWS_65", "AWS::ECS::Cluster.Cluster"): "insights cost money: the account's own setting decides",
        ("CKV_AWS_158", "AWS::Logs::LogGroup.Logs"): "AWS's key encrypts them; a key of one's own is the account's",
    },
    "kubernetes": {
        ("CKV_K8S_21", "ConfigMap.default.weather-backfill-settings"): "`kubectl --namespace` gives it",
    },
}


def failed(framework: str, folder: Path, *options: str) -> set[tuple[str, str]]:
    """The checks that fail in a folder, each with what it fails for; some were tried."""
    command = [CHECKOV, "-d", folder, "--framework", framework, "-o", "json", "--skip-download", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] + report["summary"]["failed"] > 0, done.stdout[:1000]
    assert report["summary"]["parsing_errors"] == 0
    return {(found["check_id"], found["resource"]) for found in report["results"]["failed_checks"]}


@pytest.mark.parametrize("framework", ACCEPTED)
def test_no_policy_is_broken_but_for_a_reason(framework: str) -> None:
    assert failed(framework, DEPLOY) == set(ACCEPTED[framework])


def test_a_policy_that_is_broken_is_found(tmp_path: Path) -> None:
    template = (DEPLOY / "ecs" / "template.yaml").read_text()
    anywhere = '"ecs:StopTask"]\n            Resource: "*"\n'
    narrow = f'{anywhere}            Condition: {{ArnEquals: {{"ecs:cluster": !GetAtt Cluster.Arn}}}}'
    assert narrow in template
    (tmp_path / "template.yaml").write_text(template.replace(narrow, '"s3:*", "iam:*"]\n            Resource: "*"'))
    assert failed("cloudformation", tmp_path) > {("CKV_AWS_111", "AWS::IAM::Policy.LaunchPolicy")}


def test_the_pods_of_the_chart_keep_the_policies_of_pods(tmp_path: Path) -> None:
    """Of each part its security as the values have it, in a deployment such as the chart makes."""
    values: dict[str, Any] = yaml.safe_load(chart.VALUES.read_text())
    parts = {"daemon": values["dagsterDaemon"], "webserver": values["dagsterWebserver"]}
    manifests = []
    for name, part in parts.items():
        container = {
            "name": name, "image": chart.image_name(part["image"]), "securityContext": part["securityContext"],
            "resources": part.get("resources", {}),
        }  # fmt: skip
        pod = {"securityContext": part["podSecurityContext"], "containers": [container]}
        manifests.append(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": chart.NAMESPACE}, "spec": pod}
        )
    (tmp_path / "pods.yaml").write_text(yaml.safe_dump_all(manifests))
    privileges = "CKV_K8S_16,CKV_K8S_20,CKV_K8S_23,CKV_K8S_28,CKV_K8S_31,CKV_K8S_37,CKV_K8S_40"
    assert failed("kubernetes", tmp_path, "--check", privileges) == set()
