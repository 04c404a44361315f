"""deploy/kubernetes: the job that K8sRunLauncher sends to the Kubernetes API for a run, with these values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import LaunchRunContext

from weather_backfill.security.own_hosts import OwnHosts, parse_authority
from weather_backfill.settings import Settings
from weather_backfill_tests.deploy import chart
from weather_backfill_tests.deploy.recorder import recorder
from weather_backfill_tests.deploy.runs import IMAGE, create_run
from weather_backfill_tests.platform import PROJECT

VALUES = yaml.safe_load(chart.VALUES.read_text())
TAGS = {"weather/tenant": "acme", "weather/service": "tempest"}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[str, dict[str, Any], dg.DagsterRun]]:
    """Where the job was posted, the job, and its run."""
    with recorder() as api:
        kubeconfig = tmp_path / "kubeconfig"
        cluster = {"name": "here", "cluster": {"server": api.url}}
        context = {"name": "here", "context": {"cluster": "here", "user": "here"}}
        kubeconfig.write_text(
            yaml.safe_dump(
                {"clusters": [cluster], "contexts": [context], "users": [{"name": "here", "user": {}}],
                 "current-context": "here", "apiVersion": "v1", "kind": "Config"}
            )
        )  # fmt: skip
        config = chart.launcher_config(VALUES)
        # Outside of a cluster; all else is as the chart would have it.
        config |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
        launcher = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}
        with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
            run = create_run(instance, TAGS)
            instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
            [(path, body)] = api.posted
            yield path, body, run


def test_a_run_is_a_job_with_image_command_and_size(job: tuple[str, dict[str, Any], dg.DagsterRun]) -> None:
    path, body, run = job
    assert path == "/apis/batch/v1/namespaces/weather/jobs"
    assert body["metadata"]["name"] == f"dagster-run-{run.run_id}"
    assert body["spec"]["ttlSecondsAfterFinished"] == 3600
    assert body["spec"]["backoffLimit"] == 0, "Dagster retries, not Kubernetes"
    pod = body["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["serviceAccountName"] == "dagster"
    assert pod["terminationGracePeriodSeconds"] == 60
    [container] = pod["containers"]
    assert container["image"] == IMAGE == chart.image_name(VALUES["dagsterDaemon"]["image"])
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    assert run.run_id in container["args"][3]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"memory": "2Gi"},
    }


def test_a_run_has_its_settings_secrets_and_instance(job: tuple[str, dict[str, Any], dg.DagsterRun]) -> None:
    _, body, _ = job
    [container] = body["spec"]["template"]["spec"]["containers"]
    references = [{**one.get("configMapRef", {}), **one.get("secretRef", {})}["name"] for one in container["envFrom"]]
    assert references == ["weather-backfill-settings", "weather-backfill-secrets"]
    env = {one["name"]: one.get("value") or one["valueFrom"]["secretKeyRef"] for one in container["env"]}
    assert env["DAGSTER_HOME"] == "/opt/dagster/home"
    assert env["DAGSTER_PG_PASSWORD"] == {"name": "dagster-postgresql-secret", "key": "postgresql-password"}
    assert '"instance_ref"' in container["args"][3], "the instance comes with the command"


def test_a_run_has_labels(job: tuple[str, dict[str, Any], dg.DagsterRun]) -> None:
    _, body, run = job
    for labels in (body["metadata"]["labels"], body["spec"]["template"]["metadata"]["labels"]):
        assert labels["dagster/run-id"] == run.run_id
        assert labels["dagster/job"] == "ASSET_JOB"
        assert labels["app.kubernetes.io/component"] == "run_worker"
        assert labels["app.kubernetes.io/part-of"] == "weather-backfill"
    annotations = body["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_the_values_are_such_as_the_chart_knows() -> None:
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    assert set(VALUES) <= chart.TOP_KEYS
    assert set(launcher) <= chart.LAUNCHER_KEYS
    assert set(launcher["runK8sConfig"]) <= chart.RUN_KEYS
    assert set(VALUES["dagsterDaemon"]) <= chart.DAEMON_KEYS


def test_all_pods_have_our_image_settings_and_secrets() -> None:
    """The daemon and the webserver load our run coordinator: Dagster's own image would not start."""
    [code] = VALUES["dagster-user-deployments"]["deployments"]
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    for pod in (VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], launcher, code):
        assert chart.image_name(pod["image"]) == IMAGE
        assert pod["envConfigMaps"] == [{"name": "weather-backfill-settings"}]
        assert pod["envSecrets"] == [{"name": "weather-backfill-secrets"}]


def test_the_settings_are_ours() -> None:
    document = yaml.safe_load((PROJECT / "deploy" / "kubernetes" / "settings.yaml").read_text())
    names = {f"WEATHER_{name.upper()}" for name in Settings.model_fields}
    assert set(document["data"]) <= names
    assert document["metadata"]["name"] == "weather-backfill-settings"
    given = {name.removeprefix("WEATHER_").lower(): value for name, value in document["data"].items()}
    assert Settings.model_validate(given).max_active_backfills == 10


def test_pods_run_as_a_user_without_privileges() -> None:
    deployment = VALUES["dagster-user-deployments"]["deployments"][0]
    run = VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    pods = [VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], deployment]
    pairs = [(pod["podSecurityContext"], pod["securityContext"]) for pod in pods]
    pairs.append((run["podSpecConfig"]["securityContext"], run["containerConfig"]["securityContext"]))
    for pod, container in pairs:
        assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert container == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_probe_names_a_host_that_the_webserver_answers_to() -> None:
    webserver = VALUES["dagsterWebserver"]
    [host] = webserver["readinessProbe"]["httpGet"]["httpHeaders"]
    port = webserver["service"]["port"]
    assert webserver["readinessProbe"]["httpGet"]["port"] == port
    assert parse_authority(host["value"]) in OwnHosts.of("0.0.0.0", port).hosts
