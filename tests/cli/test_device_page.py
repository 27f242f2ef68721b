"""The page of one device, on a narrow terminal."""

from datetime import UTC

from podvitals.cli.device_page import device_page
from podvitals.cli.pod_page import Reader
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.fleet.devices import DeviceView


def test_what_to_do_is_a_sentence_that_names_the_node() -> None:
    view = DeviceView(KEY, "gpu-07", Health.UNHEALTHY, "Xid 79", "power-cycle")
    assert "  Do       power-cycle node gpu-07." in device_page(view, [], Reader(0.0, UTC))
    own = DeviceView(KEY, "gpu-07", Health.UNHEALTHY, "Xid 79", "call Ada")
    assert "  Do       call Ada." in device_page(own, [], Reader(0.0, UTC))


KEY = DeviceKey("gpu.example.com", "gpu-07", "gpu-3")


def test_prose_is_as_wide_as_the_terminal_at_most_and_nothing_of_it_is_lost() -> None:
    holders = tuple(f"ml/trainer-{number} (train)" for number in range(4))
    sentence = 'no right to read nodes: nodes is forbidden: User "ada" cannot list resource "nodes" at the cluster scope'
    view = DeviceView(KEY, "gpu-07", Health.UNHEALTHY, "Xid 79: GPU has fallen off the bus", holders=holders, speaker="agent on gpu-07")
    lines = "\n".join(device_page(view, [sentence], Reader(0.0, UTC, width=60))).split("\n")
    assert [line for line in lines if len(line) > 60] == []
    page = " ".join(" ".join(lines).split())
    for whole in (
        ", ".join(holders),
        "It stands in no ResourceSlice: its driver has withdrawn it, or the kubelet",
        f"agent on gpu-07. ({sentence})",
    ):
        assert whole in page
