"""The part of Dagster's Helm chart that makes an instance from values: what each value becomes in dagster.yaml."""

from __future__ import annotations

import re
from typing import Any

from weather_backfill_tests.platform import PROJECT

VALUES = PROJECT / "deploy" / "kubernetes" / "values.yaml"
NAMESPACE = "weather"
# The chart's schema forbids any others below these.
LAUNCHER_KEYS = {
    "image", "imagePullPolicy", "jobNamespace", "loadInclusterConfig", "kubeconfigFile", "envConfigMaps", "envSecrets",
    "envVars", "volumeMounts", "volumes", "labels", "failPodOnRunFailure", "resources", "schedulerName",
    "securityContext", "runK8sConfig",
}  # fmt: skip
RUN_KEYS = {"containerConfig", "podSpecConfig", "podTemplateSpecMetadata", "jobSpecConfig", "jobMetadata"}
DAEMON_KEYS = {
    "enabled", "image", "runCoordinator", "heartbeatTolerance", "env", "envConfigMaps", "envSecrets",
    "deploymentLabels", "labels", "nodeSelector", "affinity", "tolerations", "podSecurityContext", "securityContext",
    "resources", "livenessProbe", "readinessProbe", "startupProbe", "annotations", "runMonitoring", "runRetries",
    "sensors", "schedules", "schedulerName", "volumeMounts", "volumes",
}  # fmt: skip
TOP_KEYS = {
    "dagsterWebserver", "dagster-user-deployments", "postgresql", "generatePostgresqlPasswordSecret",
    "generateCeleryConfigSecret", "rabbitmq", "redis", "flower", "ingress", "imagePullSecrets", "computeLogManager",
    "scheduler", "runLauncher", "pythonLogs", "dagsterDaemon", "busybox", "migrate", "telemetry", "serviceAccount",
    "global", "retention", "concurrency", "additionalInstanceConfig",
}  # fmt: skip


def image_name(image: dict[str, str]) -> str:
    return f"{image['repository']}:{image['tag']}"


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def launcher_config(values: dict[str, Any]) -> dict[str, Any]:
    """The run launcher's section for a release named `dagster`."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    config = {
        "load_incluster_config": given["loadInclusterConfig"],
        "job_namespace": given.get("jobNamespace", NAMESPACE),
        "image_pull_policy": given["imagePullPolicy"],
        "service_account_name": values["global"]["serviceAccountName"] or "dagster",
        "job_image": image_name(given["image"]),
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "env_config_maps": [one["name"] for one in given["envConfigMaps"]],
        "env_secrets": [one["name"] for one in given["envSecrets"]],
        "run_k8s_config": {snake(name): value for name, value in given["runK8sConfig"].items()},
    }
    same = ("envVars", "volumeMounts", "volumes", "labels", "resources")
    return config | {snake(name): given[name] for name in same if given.get(name)}


def dagster_yaml(values: dict[str, Any]) -> dict[str, Any]:
    """The instance of a release with these values."""
    database, daemon = values["postgresql"], values["dagsterDaemon"]
    storage = {
        "postgres_db": {
            "username": database["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": database["postgresqlHost"],
            "db_name": database["postgresqlDatabase"],
            "port": database["service"]["port"],
            "params": {},
            "scheme": database["postgresqlScheme"],
        }
    }
    coordinator = daemon["runCoordinator"]["config"]["customRunCoordinator"]
    logs = values["computeLogManager"]["config"]["s3ComputeLogManager"]

    def storing(module: str, name: str) -> dict[str, Any]:
        return {"module": f"dagster_postgres.{module}", "class": name, "config": storage}

    config: dict[str, Any] = {
        "schedule_storage": storing("schedule_storage", "PostgresScheduleStorage"),
        "run_storage": storing("run_storage", "PostgresRunStorage"),
        "event_log_storage": storing("event_log", "PostgresEventLogStorage"),
        "run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher_config(values)},
        "run_coordinator": coordinator,
        "compute_logs": {
            "module": "dagster_aws.s3.compute_log_manager",
            "class": "S3ComputeLogManager",
            "config": {snake(name): value for name, value in logs.items()},
        },
        "run_monitoring": {snake(name): value for name, value in daemon["runMonitoring"].items()},
        "sensors": {snake(name): value for name, value in daemon["sensors"].items()},
        "schedules": {snake(name): value for name, value in daemon["schedules"].items()},
        "retention": {
            name: {"purge_after_days": values["retention"][name]["purgeAfterDays"]} for name in ("schedule", "sensor")
        },
        "telemetry": values["telemetry"],
    }
    # The chart writes this below the rest: a key that is there already would make the file invalid.
    assert not set(config) & set(values["additionalInstanceConfig"])
    assert not daemon["runRetries"]["enabled"]
    return config | values["additionalInstanceConfig"]
