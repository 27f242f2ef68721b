"""Prepare and unprepare, through the socket, to CDI files."""

import asyncio
import json
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from podvitals.claim.resource import ResourceClaim
from podvitals.clock import SYSTEM
from podvitals.detect.detector import Device
from podvitals.driver import prepare as prepare_module
from podvitals.driver.cdi import CdiDirectory, CdiEdits, Granted, Mount, spec
from podvitals.driver.plugin import Driver
from podvitals.driver.prepare import GivenClaims, Prepare
from podvitals.errors import ApiUnreachable, Forbidden, InvalidInput, NotFound
from podvitals.testing import FakeKubelet
from podvitals.wire.messages import ClaimRef
from tests.driver.make import DRIVER, NODE, UID, Toys, claim, ref, result
from tests.roots import requires_mknod

OTHER = "3d6e1d0a-0000-4000-8000-000000000002"


def cdi_files(directory: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted((directory / "cdi").iterdir())}


async def test_a_prepared_claim_has_a_cdi_file_and_its_ids_and_unprepare_removes_it(tmp_path: Path) -> None:
    claims = [claim(result("t1"), result("t2"), result("x", driver="other.example.com"))]
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1", "t2")).serving(kubelet, claims=claims):
        answer = await kubelet.prepare(DRIVER, ref())
        assert answer[UID].error == ""
        first, second = answer[UID].devices
        assert (first.request_names, first.pool_name, first.device_name) == (("toy",), NODE, "t1")
        assert (first.cdi_device_ids, second.cdi_device_ids) == ((f"{DRIVER}/claim={UID}-toy-t1",), (f"{DRIVER}/claim={UID}-toy-t2",))
        (written,) = cdi_files(tmp_path).values()
        assert (written["cdiVersion"], written["kind"]) == ("0.5.0", f"{DRIVER}/claim")
        assert written["devices"][0] == {
            "name": f"{UID}-toy-t1",
            "containerEdits": {"env": ["PODVITALS_DEVICE_T1=t1", "PODVITALS_REQUEST_TOY=t1,t2"]},
        }
        assert await kubelet.unprepare(DRIVER, ref()) == {UID: ""}
        assert cdi_files(tmp_path) == {}


async def test_both_calls_can_be_repeated_and_met_by_another_instance(tmp_path: Path) -> None:
    claims = [claim(result("t1"))]
    async with FakeKubelet(tmp_path) as kubelet:
        async with Driver(DRIVER, Toys("t1")).serving(kubelet, claims=claims):
            first = await kubelet.prepare(DRIVER, ref())
            before = next((tmp_path / "cdi").iterdir()).stat().st_ino
            assert await kubelet.prepare(DRIVER, ref()) == first
            assert next((tmp_path / "cdi").iterdir()).stat().st_ino == before, "an unchanged file was written again"
        await kubelet.gone(DRIVER)
        async with Driver(DRIVER, Toys("t1")).serving(kubelet, claims=claims):
            assert await kubelet.prepare(DRIVER, ref()) == first
        await kubelet.gone(DRIVER)
        async with Driver(DRIVER, Toys("t1")).serving(kubelet):
            assert await kubelet.unprepare(DRIVER, ref(), ref("never", OTHER)) == {UID: "", OTHER: ""}
            assert await kubelet.unprepare(DRIVER, ref()) == {UID: ""}
    assert cdi_files(tmp_path) == {}


async def test_no_claims_is_a_liveness_probe(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet):
        assert await kubelet.prepare(DRIVER) == {}


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (claim(result("t1"), uid=OTHER), "it was deleted and made anew"),
        (claim(result("t9")), "driver toy.example.com has no device t9 on node node-1"),
        (claim(result("t1", pool="node-2")), "device t1 is of pool node-2; this driver serves pool node-1"),
        (claim(allocated=False), "it is not allocated"),
        (claim(result("x", driver="other.example.com")), "nothing of driver toy.example.com is allocated to it"),
        (claim(result("t1"), name="other"), "is not among those given"),
    ],
)
async def test_a_claim_that_cannot_be_prepared_says_why_and_its_neighbour_is_prepared(tmp_path: Path, one: ResourceClaim, why: str) -> None:
    claims = [one, claim(result("t1"), name="good", uid=OTHER)]
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet, claims=claims):
        answer = await kubelet.prepare(DRIVER, ref(), ref("good", OTHER))
        assert why in answer[UID].error
        assert answer[UID].error.startswith("claim ml/c1: ")
        assert answer[OTHER].error == ""


async def test_a_uid_that_is_a_path_is_refused(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet):
        evil = ClaimRef("ml", "../../etc/passwd", "c1")
        assert "is not a uid" in (await kubelet.prepare(DRIVER, evil))[evil.uid].error
        assert "is not a uid" in (await kubelet.unprepare(DRIVER, evil))[evil.uid]


async def test_the_hook_adds_its_edits_to_every_container_of_the_claim(tmp_path: Path) -> None:
    def hook(claim: ResourceClaim, devices: Sequence[Device]) -> CdiEdits:
        return CdiEdits({"TOYS": ",".join(device.name for device in devices)}, mounts=[Mount(Path("/opt/toys"), Path("/toys"))])

    async def later(claim: ResourceClaim, devices: Sequence[Device]) -> CdiEdits:
        return hook(claim, devices)

    for prepare in (hook, later):
        async with FakeKubelet(tmp_path) as kubelet:
            async with Driver(DRIVER, Toys("t1"), prepare=prepare).serving(kubelet, claims=[claim(result("t1"))]):
                await kubelet.prepare(DRIVER, ref())
            (written,) = cdi_files(tmp_path).values()
            assert written["containerEdits"] == {
                "env": ["TOYS=t1"],
                "mounts": [{"hostPath": "/opt/toys", "containerPath": "/toys", "options": ["ro", "nosuid", "nodev", "bind"]}],
            }


async def test_a_hook_that_fails_hangs_or_talks_nonsense_fails_its_claim_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "HOOK_TIMEOUT", 0.2)
    gate = threading.Event()

    def hook(claim: ResourceClaim, devices: Sequence[Device]) -> Any:
        if claim.metadata.name == "raises":
            raise ValueError("no such firmware")
        if claim.metadata.name == "hangs":
            gate.wait(30)
        return {"env": "TOYS"} if claim.metadata.name == "nonsense" else None

    names = {name: f"{name}-uid" for name in ("raises", "hangs", "nonsense", "good")}
    claims = [claim(result("t1"), name=name, uid=uid) for name, uid in names.items()]
    try:
        async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1"), prepare=hook).serving(kubelet, claims=claims):
            answer = await kubelet.prepare(DRIVER, *(ref(name, uid) for name, uid in names.items()))
    finally:
        gate.set()
    assert "prepare() failed: ValueError: no such firmware" in answer["raises-uid"].error
    assert "prepare() has not answered within 0.2 s" in answer["hangs-uid"].error
    assert "which is not CdiEdits" in answer["nonsense-uid"].error
    assert answer["good-uid"].error == ""


class Source:
    """Claims with errors to come first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def claim(self, namespace: str, name: str) -> ResourceClaim:
        if self.errors:
            raise self.errors.pop(0)
        return claim(result("t1"))


def direct(tmp_path: Path, source: Source) -> Prepare:
    return Prepare(DRIVER, NODE, lambda: {"t1": Device("t1")}, source, CdiDirectory(tmp_path, DRIVER), None, SYSTEM)


async def test_an_api_that_is_away_for_a_moment_is_waited_for_since_a_failure_costs_the_pod_a_minute(tmp_path: Path) -> None:
    answer = await direct(tmp_path, Source(ApiUnreachable("connection refused"))).prepare([ref()])
    assert answer[UID].error == ""


@pytest.mark.parametrize("error", [NotFound("claim not found"), Forbidden("cannot get resourceclaims")])
async def test_an_api_that_refuses_is_not_asked_again(tmp_path: Path, error: Exception) -> None:
    source = Source(error, error)
    assert str(error) in (await direct(tmp_path, source).prepare([ref()]))[UID].error
    assert len(source.errors) == 1


async def test_an_api_that_stays_away_ends_in_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "PATIENCE", 0.3)
    answer = await direct(tmp_path, Source(*[ApiUnreachable("connection refused")] * 9)).prepare([ref()])
    assert answer[UID].error == "claim ml/c1: connection refused"


async def test_a_cdi_directory_that_cannot_be_written_is_said_in_the_entry(tmp_path: Path) -> None:
    prepare = Prepare(DRIVER, NODE, lambda: {"t1": Device("t1")}, Source(), CdiDirectory(tmp_path / "none", DRIVER), None, SYSTEM)
    assert "cannot write CDI file" in (await prepare.prepare([ref()]))[UID].error


async def test_calls_for_one_claim_take_turns_and_claims_do_not_wait_for_each_other(tmp_path: Path) -> None:
    inside: list[str] = []
    both = asyncio.Event()

    async def hook(claim: ResourceClaim, devices: Sequence[Device]) -> None:
        assert claim.metadata.uid not in inside
        inside.append(claim.metadata.uid)
        if len(inside) == 2:
            both.set()
        await both.wait()
        inside.remove(claim.metadata.uid)

    source = GivenClaims([claim(result("t1")), claim(result("t1"), name="c2", uid=OTHER)])
    prepare = Prepare(DRIVER, NODE, lambda: {"t1": Device("t1")}, source, CdiDirectory(tmp_path, DRIVER), hook, SYSTEM)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(prepare.prepare([ref()]), prepare.prepare([ref()]), prepare.prepare([ref("c2", OTHER)]))
    assert [entry.error for answer in answers for entry in answer.values()] == ["", "", ""]


class Killed(BaseException):
    """Nothing after it is done, as after kill -9."""


@pytest.mark.parametrize("prepared_again", [True, False])
def test_what_a_driver_that_was_killed_while_it_wrote_left_goes_with_the_unprepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared_again: bool
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    directory, granted = CdiDirectory(tmp_path, DRIVER), [Granted("gpu", Device("g0"))]
    directory.write(OTHER, granted, CdiEdits())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            directory.write(UID, granted, CdiEdits())
    monkeypatch.setattr(os, "getpid", lambda: 1)  # the driver is started again
    if prepared_again:
        directory.write(UID, granted, CdiEdits())
    directory.remove(UID)
    assert [path.name for path in tmp_path.iterdir()] == [directory.path(OTHER).name]


def test_shares_of_one_device_and_sub_requests_have_ids_of_their_own() -> None:
    devices = [Granted("gpu/big", Device("g0"), "s1"), Granted("gpu/big", Device("g0"), "s2"), Granted("admin", Device("g0"))]
    written = spec(DRIVER, UID, devices, CdiEdits())
    assert [device["name"] for device in written["devices"]] == [f"{UID}-gpu.big-g0-s1", f"{UID}-gpu.big-g0-s2", f"{UID}-admin-g0"]
    directory = CdiDirectory(Path("/x"), DRIVER)
    assert directory.device_id(UID, devices[0]) == f"{DRIVER}/claim={UID}-gpu.big-g0-s1"


def test_an_environment_variable_nobody_could_set_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'A B' cannot be the name of an environment variable"):
        spec(DRIVER, UID, [Granted("toy", Device("t1", env={"A B": "1"}))], CdiEdits())


@requires_mknod
def test_device_nodes_are_given_to_containers_and_plain_files_are_not(tmp_path: Path) -> None:
    node, file = tmp_path / "accel0", tmp_path / "plain"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    file.touch()
    (device,) = spec(DRIVER, UID, [Granted("toy", Device("t1", nodes=[node, file]))], CdiEdits())["devices"]
    assert device["containerEdits"]["deviceNodes"] == [{"path": str(node)}]
    assert f"PODVITALS_DEVICE_T1={node}" in device["containerEdits"]["env"]
