"""The people's verbs as a person runs them: a process of their own, against a live API server."""

import asyncio
import json

import msgspec

from podvitals.cli.cluster import Reading
from podvitals.clock import SYSTEM
from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.resources import PODS, SLICES
from podvitals.testing import ManualClock
from tests.cli.cluster import DRIVER, NODE, Cluster, device


def spec_of(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "train", "image": "none", "command": ["true"]}]}}


BROKEN = device("gpu-3", Health.UNHEALTHY, "Xid 79: GPU has fallen off the bus")

ELSEWHERE = " in namespace default (another: -n, all: -A)"


async def test_the_list_tells_which_pod_is_ill_and_why(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN, device("gpu-4"), labels={"app": "train"})
    await cluster.pod("web", labels={"app": "web"})
    code, out, err = await cluster.run("get", "pods")
    header, ill, well = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split()[:5] == ["NAME", "STATUS", "RESTARTS", "HEALTH", "DEVICES"]
    assert "Unhealthy   1 of 2    gpu-3: Xid 79: GPU has fallen off the bus" in ill
    assert well.split()[0] == "web"


async def test_what_is_listed_can_be_narrowed(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN, labels={"app": "train"})
    await cluster.pod("web", device("gpu-5"), labels={"app": "web"})
    assert "web" not in (await cluster.run("get", "pods", "--unhealthy"))[1]
    assert "trainer" not in (await cluster.run("get", "pods", "-l", "app=web"))[1]
    assert "default     web" in (await cluster.run("get", "pods", "-A"))[1]
    assert (await cluster.run("get", "pods", "-n", "kube-system"))[1].startswith("No pods in namespace kube-system")
    code, _, err = await cluster.run("get", "pods", "nobody")
    assert (code, err) == (4, f"podvitals: there is no pod nobody{ELSEWHERE}: `podvitals get pods` lists them\n")


async def test_machines_get_the_same_as_json_and_yaml(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN)
    listed = json.loads((await cluster.run("get", "pods", "-o", "json"))[1])
    assert listed["kind"] == "PodVitalsList"
    assert listed["items"][0]["devices"][0]["message"] == "Xid 79: GPU has fallen off the bus"
    assert "health: Unhealthy" in (await cluster.run("describe", "pod", "trainer", "-o", "yaml"))[1]


async def test_machines_get_what_to_do_apart_from_the_reason(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", msgspec.structs.replace(BROKEN, action="power-cycle"))
    for words in (("get", "pods"), ("describe", "pod", "trainer"), ("get", "devices"), ("describe", "device", "gpu-3")):
        document = json.loads((await cluster.run(*words, "-o", "json"))[1])
        (one,) = document.get("items", [document])
        (device,) = one.get("devices", [one])
        assert (device["action"], device["message"]) == ("power-cycle", "Xid 79: GPU has fallen off the bus"), words


async def test_a_silent_agent_makes_the_list_unknown(cluster: Cluster) -> None:
    await cluster.agent_seen(100)
    await cluster.pod("trainer", device("gpu-3"))
    code, out, _ = await cluster.run("get", "pods", "--exit-code")
    assert code == 1
    assert "Unknown" in out
    assert "agent on gpu-07 silent since" in out
    assert "   Healthy   " not in out


async def test_a_reader_whose_clock_is_behind_still_sees_that_the_agent_is_dead(cluster: Cluster) -> None:
    await cluster.agent_seen(100)
    await cluster.pod("trainer", device("gpu-3"))
    slow = ManualClock()
    slow.set_wall(SYSTEM.wall() - 600)
    async with Client(cluster.client.config, clock=slow) as client:
        view = await Reading(client, "kube-system").pod("default", "trainer")
    assert view.silent
    assert view.health is Health.UNKNOWN


async def test_health_is_an_exit_code_only_when_asked(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN)
    await cluster.pod("web", device("gpu-4"))
    assert (await cluster.run("describe", "pod", "trainer"))[0] == 0
    assert (await cluster.run("describe", "pod", "trainer", "--exit-code"))[0] == 1
    assert (await cluster.run("describe", "pod", "default/web", "--exit-code"))[0] == 0
    assert (await cluster.run("get", "pods", "web", "--exit-code"))[0] == 0


async def test_devices_are_listed_with_their_holders_and_found_by_a_tail_of_their_name(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN)
    published = [{"name": name, "attributes": {"model": {"string": "H200"}}} for name in ("gpu-3", "gpu-4")]
    spec = {"driver": DRIVER, "nodeName": NODE, "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1}, "devices": published}
    await cluster.client.create(SLICES, {"metadata": {"name": "s"}, "spec": spec})
    _, out, _ = await cluster.run("get", "devices")
    first, second = out.splitlines()[1:]
    assert first.split()[:3] == ["gpu.example.com/gpu-07/gpu-3", NODE, "Unhealthy"]
    assert "default/trainer (train)" in first
    assert "nobody says" in second
    _, out, _ = await cluster.run("describe", "device", "gpu-3")
    assert "Xid 79" in out
    assert "H200" in out
    code, _, err = await cluster.run("describe", "device", "gpu-9")
    assert (code, err) == (4, "podvitals: no device is called 'gpu-9': `podvitals get devices` lists them\n")
    _, out, _ = await cluster.run("get", "nodes")
    assert out.splitlines()[1].split()[0] == NODE
    _, out, _ = await cluster.run("get", "drivers")
    assert "agent not asked" in out


async def test_only_pods_of_the_agents_own_namespace_are_asked_as_agents(cluster: Cluster) -> None:
    for namespace, name in (("default", "impostor"), ("kube-system", "agent-x")):
        meta = {"name": name, "labels": {"app.kubernetes.io/name": "podvitals-agent"}}
        spec = {"nodeName": NODE, "containers": [{"name": "agent", "image": "none", "command": ["true"]}]}
        await cluster.client.create(PODS, {"metadata": meta, "spec": spec}, namespace)
        await cluster.client.patch(PODS, name, {"status": {"phase": "Running"}}, namespace, subresource="status")
    _, _, err = await cluster.run("get", "devices")
    assert "the agent agent-x could not be asked" in err
    assert "impostor" not in err


async def test_watching_prints_a_row_again_when_it_changes(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", device("gpu-3"))
    process = await cluster.start("get", "pods", "-w")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert b"NAME" in await process.stdout.readline()
            assert b"Healthy" in await process.stdout.readline()
            await cluster.annotate("trainer", BROKEN)
            assert b"Unhealthy" in await process.stdout.readline()
    finally:
        process.terminate()
        await process.communicate()


async def test_the_next_command_takes_the_names_that_get_prints(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN, device("gpu-4"))
    assert (await cluster.run("get", "pods", "-o", "name"))[1] == "pod/trainer\n"
    assert (await cluster.run("get", "pods", "-A", "-o", "name"))[1] == "pod/default/trainer\n"
    assert (await cluster.run("get", "devices", "--unhealthy", "-o", "name"))[1] == f"device/{DRIVER}/{NODE}/gpu-3\n"
    for name in ("pod/default/trainer", f"device/{DRIVER}/{NODE}/gpu-3"):
        assert "Xid 79" in (await cluster.run("describe", name))[1], name


async def test_a_list_can_be_narrowed_to_a_node_and_go_without_its_header(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN)
    for kind, first in (("pods", "trainer"), ("devices", f"{DRIVER}/{NODE}/gpu-3"), ("nodes", NODE)):
        assert (await cluster.run("get", kind, "--node", NODE, "--no-headers"))[1].split()[0] == first
        assert (await cluster.run("get", kind, "--node", "gpu-08"))[1].startswith(f"No {kind} on node gpu-08"), kind


async def test_options_may_stand_before_what_is_described(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN)
    for words in (("-n", "default", "pod/trainer"), ("--all", "pod", "trainer"), ("pod", "-n", "default", "trainer")):
        assert "Xid 79" in (await cluster.run("describe", *words))[1], words


async def test_a_pod_that_is_not_there_is_told_with_what_was_probably_meant(cluster: Cluster) -> None:
    for namespace in ("default", "kube-system"):
        await cluster.client.create(PODS, spec_of("worker-a-6c8d9f-x2x7p" if namespace == "kube-system" else "trainer-0"), namespace)
    for words, why in (
        (("describe", "pod", "trainer"), "there is no pod 'trainer' in namespace 'default'; did you mean trainer-0?"),
        (("describe", "pod", "trianer-0"), "; did you mean trainer-0?"),
        (("describe", "pod", "trainer-1"), "; another namespace? (-n)"),
        (("describe", "pod", "worker-a-6c8d9f-x2x7p"), "; there is one in kube-system (-n kube-system)"),
        (("get", "pods", "worker-a-6c8d9f-x2x7p"), "; there is one in kube-system (-n kube-system)"),
        (("get", "pods", "-n", "kube-system", "worker"), "; did you mean worker-a-6c8d9f-x2x7p?"),
    ):
        code, out, err = await cluster.run(*words)
        assert (code, out, err.count("\n")) == (4, "", 1), words
        assert why in err


async def test_a_pod_that_is_not_there_is_told_with_the_namespace(cluster: Cluster) -> None:
    code, out, err = await cluster.run("describe", "pod", "ghost", "-n", "ml")
    assert (code, out) == (4, "")
    assert err == "podvitals: there is no pod 'ghost' in namespace 'ml'; another namespace? (-n)\n"


async def test_kind_and_name_may_be_one_word_as_for_kubectl(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", BROKEN)
    await cluster.pod("web")
    for page in (("pod/trainer",), ("pods", "trainer"), ("po/trainer",)):
        assert "Xid 79" in (await cluster.run("describe", *page))[1], page
    assert f"Device {DRIVER}/{NODE}/gpu-3" in (await cluster.run("describe", f"device/{NODE}/gpu-3"))[1]
    for words, names in ((("pod/web",), ["web"]), (("pod/trainer", "pods/web"), ["trainer", "web"])):
        assert [line.split()[0] for line in (await cluster.run("get", *words))[1].splitlines()[1:]] == names


async def test_what_cannot_be_named_so_is_told_with_what_can(cluster: Cluster) -> None:
    for words, why in (
        (("get", "pod/web", "node/gpu-07"), "after pod/web each name is written pod/NAME: one kind at a time"),
        (("get", "job/web"), "'job/web' is none of pods, devices, drivers, nodes"),
        (("describe", "node", "lab"), "of nodes, `podvitals get nodes lab` tells what is known"),
        (("describe", "drivers"), "of drivers, `podvitals get drivers` tells what is known"),
        (("describe", "job", "web"), "'job' is none of pod, device: `describe pod NAME`"),
    ):
        code, out, err = await cluster.run(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert why in err
