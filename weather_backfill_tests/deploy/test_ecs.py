"""deploy/ecs: the template becomes a stack, and EcsRunLauncher starts a task for a run in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import LaunchRunContext

from weather_backfill.dagster.private import WorkerStatus
from weather_backfill.settings import Settings
from weather_backfill_tests.deploy.recorder import recorder
from weather_backfill_tests.deploy.runs import create_run
from weather_backfill_tests.platform import PROJECT
from weather_backfill_tests.servers import s3_server

FOLDER = PROJECT / "deploy" / "ecs"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/weather-backfill"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An AWS server of its own: others may look at what is in it."""
    if "WEATHER_TEST_S3_ENDPOINT" in os.environ:
        pytest.skip("the server given has no ECS")
    with s3_server(tmp_path_factory.mktemp("aws") / "server.log") as endpoint:
        patch = pytest.MonkeyPatch()
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield endpoint
        patch.undo()


@pytest.fixture(scope="module")
def stack(aws: str) -> dict[str, Any]:
    """The stack's outputs, with its name and network."""
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    name = f"weather-{uuid.uuid4().hex[:6]}"
    given = {
        "VpcId": vpc,
        "SubnetIds": subnet,
        "Image": IMAGE,
        "Bucket": "my-weather",
        "PostgresUrlSecret": f"{SECRET}:postgres",
        "LimitsUrlSecret": f"{SECRET}:limits",
    }
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=(FOLDER / "template.yaml").read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    [described] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    found = {**outputs, "name": name, "subnet": subnet}
    # The server's CloudFormation keeps only parts of a task definition: register both whole, as AWS's would.
    values = {
        **given,
        **found,
        "AWS::StackName": name,
        "AWS::Region": "us-east-1",
        "RunCpu": "1024",
        "RunMemory": "2048",
        "WebserverHost": "weather.example.org",
    }
    for resource in ("RunTask", "ControlTask"):
        definition = boto3.client("ecs").register_task_definition(**task_properties(resource, values))
        found[f"{resource}Definition"] = definition["taskDefinition"]["taskDefinitionArn"]
    return found


class Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms as ("Ref", "Image") and the like."""


Template.add_multi_constructor("!", lambda loader, tag, node: (tag, loader.construct_scalar(node)))


def task_properties(resource: str, values: dict[str, Any]) -> dict[str, Any]:
    """A task definition of the template as the ECS API takes it, which checks every name and type."""

    def resolved(node: Any, key: str = "") -> Any:
        if isinstance(node, tuple):
            form, name = node
            if form == "GetAtt":
                return f"arn:aws:iam::123456789012:role/{name.removesuffix('.Arn')}"
            text = values.get(name, name) if form == "Ref" else re.sub(r"\$\{(.+?)\}", lambda m: values[m[1]], name)
            return int(text) if key == "ContainerMemory" else text
        if isinstance(node, list):
            return [resolved(item) for item in node]
        if isinstance(node, dict):
            in_container = "Image" in node
            found = {}
            for name, value in node.items():
                given = resolved(value, "ContainerMemory" if in_container and name == "Memory" else "")
                found[name[0].lower() + name[1:]] = given
            return found
        return node

    template = yaml.load((FOLDER / "template.yaml").read_text(), Template)
    return dict(resolved(template["Resources"][resource]["Properties"]))


def test_the_template_is_valid() -> None:
    linter = str(Path(sys.executable).parent / "cfn-lint")
    done = subprocess.run([linter, str(FOLDER / "template.yaml")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout


def task_definition(arn: str) -> dict[str, Any]:
    return dict(boto3.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"])


def test_runs_and_servers_have_the_same_environment_and_secrets(stack: dict[str, Any]) -> None:
    run, control = (task_definition(stack[name]) for name in ("RunTaskDefinition", "ControlTaskDefinition"))
    assert run["family"] == f"{stack['name']}-run"
    assert (run["cpu"], run["memory"]) == ("1024", "2048")
    containers = [*run["containerDefinitions"], *control["containerDefinitions"]]
    assert [container["name"] for container in containers] == ["run", "code", "webserver", "daemon"]
    for container in containers:
        assert container["image"] == IMAGE
        assert container["memory"]
        environment = {one["name"]: one["value"] for one in container["environment"]}
        assert environment["WEATHER_STORAGE_URL"] == "s3://my-weather/lake"
        assert environment["WEATHER_RUN_TASK_DEFINITION"] == run["family"]
        ours = {name for name in environment if name.startswith("WEATHER_")}
        known = {f"WEATHER_{name.upper()}" for name in Settings.model_fields}
        assert ours - known == {"WEATHER_LOGS_BUCKET", "WEATHER_RUN_TASK_DEFINITION"}
        assert {one["name"]: one["valueFrom"] for one in container["secrets"]} == {
            "DAGSTER_POSTGRES_URL": f"{SECRET}:postgres",
            "WEATHER_LIMITS_URL": f"{SECRET}:limits",
        }


def test_what_dagster_yaml_reads_is_given(stack: dict[str, Any]) -> None:
    text = (FOLDER / "dagster.yaml").read_text()
    [container] = task_definition(stack["RunTaskDefinition"])["containerDefinitions"]
    given = {one["name"] for one in [*container["environment"], *container["secrets"]]}
    assert {line.split("env: ")[1].split("}")[0] for line in text.splitlines() if "{env: " in line} <= given
    workspace = yaml.safe_load((FOLDER / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["grpc_server"]["port"] == 4000


def start_control(stack: dict[str, Any]) -> dict[str, Any]:
    """The task that ECS would start for the service."""
    network = {"subnets": [stack["subnet"]], "securityGroups": [stack["SecurityGroup"]]}
    [task] = boto3.client("ecs").run_task(
        cluster=stack["Cluster"],
        taskDefinition=stack["ControlTaskDefinition"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )["tasks"]
    return dict(task)


def test_a_run_is_a_task_of_its_own(stack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    task = start_control(stack)
    launcher = yaml.safe_load((FOLDER / "dagster.yaml").read_text())["run_launcher"]
    monkeypatch.setenv("WEATHER_RUN_TASK_DEFINITION", f"{stack['name']}-run")
    with recorder() as metadata:
        metadata.documents["/task"] = {"Cluster": stack["Cluster"], "TaskARN": task["taskArn"]}
        monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", metadata.url)
        with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
            tags = {"weather/tenant": "acme", "weather/service": "tempest", "ecs/memory": "4096"}
            run = create_run(instance, tags)
            instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
            launched = instance.get_run_by_id(run.run_id)
            assert launched
            arn = launched.tags["ecs/task_arn"]
            ecs = boto3.client("ecs")
            [started] = ecs.describe_tasks(cluster=stack["Cluster"], tasks=[arn], include=["TAGS"])["tasks"]
            assert started["taskDefinitionArn"] == stack["RunTaskDefinition"]
            assert started["launchType"] == "FARGATE"
            [override] = started["overrides"]["containerOverrides"]
            assert (override["name"], override["memory"]) == ("run", 4096)
            assert override["command"][:3] == ["dagster", "api", "execute_run"]
            assert run.run_id in override["command"][3]
            subnets = [d["value"] for a in started["attachments"] for d in a["details"] if d["name"] == "subnetId"]
            assert subnets == [stack["subnet"]], "where the control task is"
            found = {tag["key"]: tag["value"] for tag in started["tags"]}
            assert found["dagster/run_id"] == run.run_id
            assert (found["weather/tenant"], found["weather/service"]) == ("acme", "tempest")

            ecs.stop_task(cluster=stack["Cluster"], task=arn)
            health = instance.run_launcher.check_run_worker_health(launched)
            assert health.status in (WorkerStatus.FAILED, WorkerStatus.SUCCESS), "run monitoring sees that it is gone"


@pytest.mark.parametrize("role", ["RunRole", "ControlRole"])
def test_a_role_writes_lake_and_logs_and_only_reads_tenant_files(role: str) -> None:
    """As deploy/iam/platform.json has it: who parses the tenants' data does not write their files."""
    template = yaml.load((FOLDER / "template.yaml").read_text(), Template)
    [policy, *_] = template["Resources"][role]["Properties"]["Policies"]
    may: dict[str, set[str]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions, resources = (
            [given] if isinstance(given, str | tuple) else given
            for given in (statement["Action"], statement["Resource"])
        )
        for action in actions:
            may.setdefault(action, set()).update(str(r[1] if isinstance(r, tuple) else r) for r in resources)
    objects = "arn:${AWS::Partition}:s3:::${Bucket}"
    written = {f"{objects}/lake/*", f"{objects}/dagster-logs/*"}
    assert may["s3:PutObject"] == may["s3:DeleteObject"] == written
    assert may["s3:GetObject"] == written | {f"{objects}/tenants/*"}


def test_roles_reach_our_bucket_s_folders_and_our_runs_alone() -> None:
    resources = yaml.load((FOLDER / "template.yaml").read_text(), Template)["Resources"]
    policies = [policy["PolicyDocument"] for role in ("RunRole", "ControlRole") for policy in
                resources[role]["Properties"]["Policies"]]  # fmt: skip
    launch = resources["LaunchPolicy"]["Properties"]["PolicyDocument"]
    for statement in (one for document in (*policies, launch) for one in document["Statement"]):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if "s3:ListBucket" in actions:
            assert set(statement["Condition"]["StringLike"]["s3:prefix"]) >= {"lake/*", "tenants/*"}
        if {"ecs:RunTask", "ecs:StopTask"} & set(actions):
            assert statement["Condition"] == {"ArnEquals": {"ecs:cluster": ("GetAtt", "Cluster.Arn")}}
        if "ecs:RunTask" in actions:
            assert "task-definition/${AWS::StackName}-run" in statement["Resource"][1]
    parameters = yaml.load((FOLDER / "template.yaml").read_text(), Template)["Parameters"]
    assert parameters["WebserverCidr"]["Default"] == "127.0.0.1/32", "open to nobody"
