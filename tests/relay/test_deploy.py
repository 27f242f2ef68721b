"""deploy/relay.yaml and deploy/relay-alerts.yaml: what is watched is there, under the names it is watched by."""

import re
from pathlib import Path
from typing import Any

import yaml

from podvitals.agent.listen import parse_address
from podvitals.cli.relay import command
from podvitals.relay.front import LONGEST_CALL
from podvitals.relay.run import RelaySettings
from podvitals.relay.state import RelayView, metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
OURS, THEIRS = "podvitals_relay_", "kube_daemonset_status_number_unavailable"


def objects(file: str) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / file).read_text())}


def daemons() -> Any:
    return objects("relay.yaml")["DaemonSet"]


def alerts() -> dict[str, Any]:
    (group,) = objects("relay-alerts.yaml")["PrometheusRule"]["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def container(name: str) -> Any:
    return next(one for one in daemons()["spec"]["template"]["spec"]["containers"] if one["name"] == name)


def test_the_relay_that_is_deployed_listens_on_its_pods_address_at_the_port_that_is_scraped() -> None:
    relay = container("relay")
    (port,) = relay["ports"]
    assert relay["command"][:2] == ["podvitals", "relay"]
    listen = command.make_context("relay", relay["command"][2:]).params["listen"]
    (address,) = [one for one in relay["env"] if f"$({one['name']})" in listen]
    assert address["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    for ip in ("10.0.0.7", "fd00::7"):
        assert parse_address(listen.replace(f"$({address['name']})", ip)) == (ip, port["containerPort"])
    (scraped,) = objects("relay-alerts.yaml")["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert (scraped["port"], scraped.get("path", "/metrics")) == (port["name"], "/metrics")


def test_what_is_deployed_of_relay_and_agent_may_do_no_more_than_connect_to_roots_sockets() -> None:
    """tests/relay/test_command.py starts it without the capabilities by which root passes a file's permissions."""
    for file in ("relay.yaml", "agent.yaml"):
        pod = objects(file)["DaemonSet"]["spec"]["template"]["spec"]
        assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
        for one in pod["containers"]:
            assert one["securityContext"] == {
                "runAsUser": 0,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_relay_that_is_replaced_goes_when_the_next_has_had_the_time_to_stand_in() -> None:
    """For a DaemonSet a pod without a readiness probe is ready when its process runs; a probe would be answered by the old relay."""
    spec = daemons()["spec"]
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] >= 5
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > LONGEST_CALL


def test_the_pods_that_are_scraped_are_the_relays_and_are_called_as_the_alerts_call_them() -> None:
    monitor, template = objects("relay-alerts.yaml")["PodMonitor"], daemons()["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert monitor["metadata"]["namespace"] == daemons()["metadata"]["namespace"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    jobs = {job for rule in alerts().values() for job in re.findall(r'job="([^"]*)"', rule["expr"])}
    assert jobs == {labels[monitor["spec"]["jobLabel"]]}
    added = {one["targetLabel"] for one in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]}
    used = {name for rule in alerts().values() for name in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])}
    assert used <= added | {"driver"}


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    text = metrics(RelayView("", "", "", "", (), False, ())).decode()
    there = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)) | {"up", THEIRS}
    asked = {name for rule in alerts().values() for name in re.findall(rf"\bup\b|{OURS}\w+|kube_\w+", rule["expr"])}
    assert asked <= there
    assert {"up", THEIRS, f"{OURS}keeper", f"{OURS}registered"} <= asked


def test_a_node_without_a_relay_and_a_prometheus_that_sees_none_are_alerts() -> None:
    """Where nothing is scraped `up == 0` matches nothing."""
    named, set_ = daemons()["metadata"], f'{THEIRS}{{namespace="kube-system", daemonset="podvitals-relay"}}'
    assert (named["namespace"], named["name"]) == ("kube-system", "podvitals-relay")
    assert alerts()["PodvitalsRelayMissing"]["expr"] == f"{set_} > 0"
    assert alerts()["PodvitalsRelayUnwatched"]["expr"].split(" or ") == ['absent(up{job="podvitals-relay"})', f"absent({set_})"]


def test_the_relay_that_is_deployed_works_where_it_does_by_default_at_the_hosts_own_paths() -> None:
    volumes = {one["name"]: one["hostPath"]["path"] for one in daemons()["spec"]["template"]["spec"]["volumes"]}
    mounted = {name: {one["mountPath"]: volumes[one["name"]] for one in container(name)["volumeMounts"]} for name in ("relay", "keeper")}
    assert all(inside == outside for mounts in mounted.values() for inside, outside in mounts.items())
    settings = RelaySettings()
    assert {str(settings.plugin_dir), str(settings.kubelet_dir), str(settings.run_dir)} <= mounted["relay"].keys()
    assert mounted["keeper"].keys() == {str(settings.run_dir)}
    assert container("keeper")["command"] == ["podvitals", "relay", "keep"]
