"""deploy/agent.yaml, agent-rbac.yaml, agent-policy.yaml and agent-alerts.yaml agree with each other and with the agent. What the API
server and Prometheus make of them is tried in tests/cluster."""

import re
from pathlib import Path
from typing import Any

import yaml

from podvitals.agent.listen import parse_address
from podvitals.cli.agent import command
from podvitals.cli.agents import AGENT_LABEL, AGENT_PORT
from podvitals.fleet.inventory import lease_name
from podvitals.pod.entry import ANNOTATION, CONDITION
from podvitals.relay.run import RelaySettings

DEPLOY = Path(__file__).parents[2] / "deploy"


def objects(file: str, kind: str) -> list[Any]:
    return [one for one in yaml.safe_load_all((DEPLOY / file).read_text()) if one["kind"] == kind]


def daemons() -> Any:
    (one,) = objects("agent.yaml", "DaemonSet")
    return one


def container() -> Any:
    (one,) = daemons()["spec"]["template"]["spec"]["containers"]
    return one


def given() -> dict[str, Any]:
    """What the agent's command line means."""
    assert container()["command"][:2] == ["podvitals", "agent"]
    return command.make_context("agent", container()["command"][2:]).params


def test_the_agent_that_is_deployed_answers_where_probes_prometheus_and_get_drivers_ask() -> None:
    (port,) = container()["ports"]
    sources = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container()["env"]}
    assert sources == {"NODE_NAME": "spec.nodeName", "POD_IP": "status.podIP"}
    for ip in ("10.0.0.7", "fd00::7"):
        assert parse_address(given()["listen"].replace("$(POD_IP)", ip)) == (ip, port["containerPort"])
    assert port["containerPort"] == AGENT_PORT
    (monitor,) = objects("agent-alerts.yaml", "PodMonitor")
    (scraped,) = monitor["spec"]["podMetricsEndpoints"]
    probes = [container()[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert {scraped["port"], *(probe["port"] for probe in probes)} == {port["name"]}
    labels = daemons()["spec"]["template"]["metadata"]["labels"]
    name, _, value = AGENT_LABEL.partition("=")
    assert labels[name] == value
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (rules,) = objects("agent-alerts.yaml", "PrometheusRule")
    jobs = set(re.findall(r'job="([^"]*)"', str(rules)))
    assert jobs == {labels[monitor["spec"]["jobLabel"]]}


def test_it_sees_drivers_and_relay_at_the_hosts_own_paths_and_writes_its_state_alone() -> None:
    volumes = {one["name"]: one["hostPath"]["path"] for one in daemons()["spec"]["template"]["spec"]["volumes"]}
    mounts = {one["mountPath"]: one for one in container()["volumeMounts"]}
    assert all(volumes[one["name"]] == path for path, one in mounts.items())
    registry, state = str(given()["plugin_dir"]), str(given()["state_dir"])
    assert mounts.keys() == {registry, registry.removesuffix("_registry"), str(RelaySettings().run_dir), state}
    assert [path for path, one in mounts.items() if not one.get("readOnly")] == [state]
    assert container()["securityContext"]["readOnlyRootFilesystem"]


def test_rights_and_policy_are_of_the_account_it_runs_under_and_of_what_it_writes() -> None:
    (account,) = objects("agent-rbac.yaml", "ServiceAccount")
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    assert (daemons()["spec"]["template"]["spec"]["serviceAccountName"], daemons()["metadata"]["namespace"]) == (name, namespace)
    assert given()["namespace"] == namespace
    subjects = [s for kind in ("ClusterRoleBinding", "RoleBinding") for one in objects("agent-rbac.yaml", kind) for s in one["subjects"]]
    assert all((one["name"], one["namespace"]) == (name, namespace) for one in subjects)
    policies = objects("agent-policy.yaml", "ValidatingAdmissionPolicy")
    for policy in policies:
        (matched,) = policy["spec"]["matchConditions"]
        assert matched["expression"] == f'request.userInfo.username == "system:serviceaccount:{namespace}:{name}"'
    bound = {one["spec"]["policyName"] for one in objects("agent-policy.yaml", "ValidatingAdmissionPolicyBinding")}
    assert bound == {policy["metadata"]["name"] for policy in policies}
    text = str(policies)
    assert {ANNOTATION, CONDITION} <= set(re.findall(r'"(podvitals\.dev/\w+)"', text))
    assert f'"{lease_name("")}" + node' in text
