"""The page a person on call reads, whole: what it says first, what it never leaves out, and that it fits what it was told."""

from datetime import UTC

import pytest
from msgspec.structs import replace

from podvitals.claim.pod import Pod, Waiting
from podvitals.cli.output import age
from podvitals.cli.pod_page import Reader, pod_page
from podvitals.device.health import Health
from podvitals.fleet.inventory import AgentView, pod_view
from podvitals.pod.entry import FaultEntry
from tests.fleet.pods import NODE, NOW, at, condition, entry, field, pod

XID = "Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)"
ALIVE, SILENT, NONE = AgentView(NODE, NOW - 4), AgentView(NODE, NOW - 100), AgentView(NODE, None)
BROKEN = entry("gpu-3", Health.UNHEALTHY, XID, -360, action="power-cycle")
FLAPPED = entry(
    "gpu-5", since=-1722, faults=(FaultEntry(health=Health.UNHEALTHY, message="NVLink 2 down", start=at(-1734), until=at(-1722)),)
)
HEALTHY = tuple(entry(f"gpu-{n}") for n in (0, 1, 2, 4, 6, 7))


def page(subject: Pod, agent: AgentView = ALIVE, *, everything: bool = False, width: int = 120) -> str:
    return "\n".join(pod_page(pod_view(subject, agent, NOW), Reader(NOW, UTC, width, everything)))


CRASHED = """\
Pod ml/trainer-0 on gpu-07        Running, 1 of 1 container waiting        3h12m old

  ✗ A DEVICE FAULT EXPLAINS THE CRASHES of container "train"
    gpu-3   Unhealthy for 6m (since 12:03:04)    gpu.nvidia.com/gpu-07/gpu-3
    Why     Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)
    Do      power-cycle node gpu-07. A restart of this pod cannot help: its claim keeps gpu-3.

Containers
  NAME    STATE                       RESTARTS   LAST EXIT                 DEVICES
  train   Waiting: CrashLoopBackOff   5          139 (SIGSEGV)  12:08:31   1 of 8 unhealthy

Devices   claim "gpus" → trainer-0-gpus-x7k2f   (6 healthy hidden: --all)
  DEVICE   HEALTH      SINCE            CONTAINER   WHY
  gpu-3    Unhealthy   12:03:04 (6m)    train       Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)
  gpu-5    Healthy     11:40:22 (28m)   train       last fault 11:40:10–11:40:22: NVLink 2 down

Timeline
  11:40:10  gpu-5  → Unhealthy: NVLink 2 down
  11:40:22  gpu-5  Unhealthy no longer
  12:03:04  gpu-3  → Unhealthy: Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0)
  12:08:31  train  exit 139 (SIGSEGV), 5m27s after the fault   ← explained by gpu-3

Source  agent on gpu-07, alive 4s ago. The kubelet's own field agrees."""


def test_the_whole_page_of_a_pod_whose_gpu_died() -> None:
    healths = (Health.UNHEALTHY, *[Health.HEALTHY] * 7)
    subject = pod(BROKEN, FLAPPED, *HEALTHY, field=field(*healths), exit_code=139)
    assert page(subject).splitlines() == CRASHED.splitlines()


def test_the_negative_answer_names_what_did_end_the_container() -> None:
    text = page(pod(*HEALTHY, exit_code=137, exit_reason="OOMKilled"))
    assert 'No device fault explains the end of container "train" (last exit 137 (SIGKILL, OOMKilled)):' in text
    assert "memory limit 2Gi; 6 of 6 healthy now" in " ".join(text.split())


def test_healthy_devices_are_hidden_among_many_and_shown_on_demand() -> None:
    subject = pod(BROKEN, *HEALTHY)
    assert "gpu-7" not in page(subject)
    assert "gpu-7" in page(subject, everything=True)


def test_a_broken_device_of_a_running_container_is_told_without_blame() -> None:
    text = page(pod(BROKEN))
    assert "A DEVICE OF THIS POD IS UNHEALTHY" in text
    assert "2 DEVICES OF THIS POD ARE UNHEALTHY" in page(pod(BROKEN, entry("gpu-4", Health.UNHEALTHY, XID, -360)))
    assert "EXPLAINS" not in text


def test_a_silent_agent_is_told_and_nothing_reads_healthy() -> None:
    text = page(pod(BROKEN, *HEALTHY, exit_code=139), SILENT)
    assert "silent since 12:07:24" in text
    assert " Healthy  " not in text
    assert "A DEVICE FAULT EXPLAINS THE CRASHES" in text
    assert "last known Unhealthy, since 12:03:04" in text


def test_what_a_silent_agent_knew_last_and_what_to_do_about_it_is_said() -> None:
    text = page(pod(BROKEN, *HEALTHY), SILENT)
    assert "? A DEVICE OF THIS POD WAS LAST KNOWN UNHEALTHY" in text
    assert "last known Unhealthy, since 12:03:04" in text
    assert "Do      power-cycle node gpu-07. A restart of this pod cannot help" in text
    assert "? The health of 7 of 7 devices is unknown: agent on gpu-07 silent since" in text
    untold = AgentView(NODE, NOW - 4, untold={"u1": NOW - 60})
    assert "Do      power-cycle node gpu-07." in page(pod(BROKEN, entry("gpu-4", Health.UNHEALTHY, XID, -360)), untold)
    over = page(pod(FLAPPED), SILENT)
    assert "LAST KNOWN UNHEALTHY" not in over
    assert "  Do  " not in over


def test_beside_a_silent_agent_the_kubelets_field_agrees_with_nothing_but_what_was_written_last() -> None:
    told = [page(pod(BROKEN, field=field(health)), SILENT) for health in (Health.UNHEALTHY, Health.HEALTHY)]
    same, another = (" ".join(text.split()) for text in told)
    assert "The kubelet's own field says what the agent wrote last." in same
    assert "differs from what the agent wrote last: claim:gpus of container train: it says Healthy, the agent Unhealthy." in another
    assert "agrees" not in same + another
    assert "late or blind" not in same + another


def test_devices_that_fall_silent_together_are_one_line_of_the_timeline_and_one_sentence() -> None:
    text = page(pod(*(entry(f"gpu-{n}", Health.UNKNOWN, "driver silent", -60) for n in range(8))))
    assert "gpu-0 … gpu-7 (8 devices)  → Unknown: driver silent" in text
    assert text.count("→ Unknown") == 1
    assert "? The health of 8 of 8 devices is unknown: driver silent" in text


def test_in_the_second_before_the_annotation_follows_nobody_reads_that_no_device_is_to_blame() -> None:
    text = page(pod(entry("gpu-3"), exit_code=139, condition=condition("False", "1 of 1 device unhealthy; gpu-3: Xid 79")))
    assert "✗ Just now: 1 of 1 device unhealthy; gpu-3: Xid 79" in text
    assert "No device fault" not in text


def test_without_any_agent_the_page_says_that_only_the_kubelet_speaks() -> None:
    text = page(pod(field=field(Health.UNHEALTHY)), NONE)
    assert "the kubelet's own field alone" in text
    assert "no podvitals agent speaks for this pod" in text


def test_a_kubelet_that_disagrees_is_told() -> None:
    text = page(pod(BROKEN, field=field(Health.HEALTHY)))
    assert "late or blind: claim:gpus of container train: it says Healthy, the agent Unhealthy" in " ".join(text.split())


def test_a_pod_of_which_nobody_knows_anything_says_so() -> None:
    text = page(pod(), NONE)
    assert 'Nothing is known of its devices (claim "gpus")' in text
    assert "nobody: no podvitals agent on gpu-07" in text


def test_what_a_driver_wrote_cannot_drive_the_terminal() -> None:
    text = page(pod(entry("gpu-3", Health.UNHEALTHY, "\x1b[2Jgone\u202e", -60, action="\x1b]0;x\x07"), exit_code=1))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2Jgone" in text


def test_what_a_pods_author_wrote_into_the_annotation_cannot_drive_the_terminal() -> None:
    evil = "gpu\x1b[2J\u202e"
    names = {"claim": evil, "claim_name": evil, "request": evil, "entry": evil}
    broken = entry(evil, Health.UNHEALTHY, "gone", -60, **names)
    asked = [(pod(broken), ALIVE), (pod(broken, exit_code=1), SILENT), (pod(broken, exit_code=1, exit_reason=evil, exited=-4000), ALIVE)]
    for subject, agent in asked:
        text = page(subject, agent, everything=True)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "gpu\\x1b[2J" in text


LONG = f"{XID}; NVLink 2 down; 1,204 corrected errors in the last minute; the driver asks for a power cycle of the node"


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("agent", [ALIVE, SILENT], ids=["alive", "silent"])
@pytest.mark.parametrize("exit_code", [None, 139])
def test_no_line_of_the_page_is_wider_than_the_terminal_and_nothing_of_it_is_lost(
    width: int, agent: AgentView, exit_code: int | None
) -> None:
    broken = entry("gpu-3", Health.UNHEALTHY, LONG, -360, action="power-cycle", request="training-gpu")
    text = page(pod(broken, FLAPPED, *HEALTHY, exit_code=exit_code), agent, width=width)
    assert [line for line in text.split("\n") if len(line) > width] == []
    flat = " ".join(text.split())
    assert LONG in flat
    assert "Pod ml/trainer-0 on gpu-07 Running" in flat


def test_a_container_that_waits_for_its_restart_says_how_long_it_still_takes() -> None:
    def waiting(message: str) -> str:
        subject = pod(*HEALTHY, exit_code=1)
        (status,) = subject.status.container_statuses
        state = replace(status.state, waiting=Waiting(reason="CrashLoopBackOff", message=message))
        return page(replace(subject, status=replace(subject.status, container_statuses=(replace(status, state=state),))))

    # It ended 33 s ago.
    assert "Waiting: CrashLoopBackOff, in 2m7s " in waiting("back-off 2m40s restarting failed container=train pod=trainer-0_ml(u1)")
    assert "Waiting: CrashLoopBackOff, in 7s " in waiting("back-off 40s restarting failed container=train pod=trainer-0_ml(u1)")
    for message in ("back-off 10s restarting failed container=train", "back-off 9h9x restarting", "", "\x1b"):
        assert "Waiting: CrashLoopBackOff  " in waiting(message)


def test_a_device_that_several_containers_hold_is_one_line() -> None:
    subject = pod(entry("gpu-3"), replace(entry("gpu-3"), container="warm-up"))
    assert len([line for line in page(subject).split("\n") if line.startswith("  gpu-3 ")]) == 1
    assert "train, warm-up" in page(subject)


def test_a_lease_that_is_nowhere_is_told_with_where_it_was_looked_for() -> None:
    assert "--agent-namespace" in page(pod(BROKEN), NONE)


def test_of_an_ended_pod_who_wrote_it_is_told_though_it_is_silent_now() -> None:
    assert "Source  agent on gpu-07, silent since 12:07:24. The pod has ended: health is as of then." in page(
        pod(BROKEN, phase="Failed"), SILENT
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (4, "4s"), (160, "2m40s"), (360, "6m"), (700, "11m"), (11520, "3h12m"), (3600, "1h"), (190800, "2d5h"), (864000, "10d")],
)
def test_ages_read_as_kubectl_writes_them(seconds: float, text: str) -> None:
    assert age(seconds) == text
