"""Registration (CONTRACT §1): what a kubelet learns from the socket in its plugin directory."""

import asyncio
import re
import stat
from pathlib import Path

from podvitals.device.key import check_driver_name
from podvitals.errors import InvalidInput
from podvitals.testing.conformance.case import Cases, Failed, Finding, Warned
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.line import Line, connected
from podvitals.wire.endpoint import LONGEST_PATH
from podvitals.wire.messages import ALL_VERSIONS, DRA_V1BETA1, DRA_VERSIONS, PLUGIN_TYPE
from podvitals.wire.services import GET_INFO
from podvitals.wire.stream import Status

CASES: Cases[DriverSubject] = Cases()


@CASES.case(
    "get-info",
    "Service pluginregistration.Registration answers GetInfo with a PluginInfo.",
    "CONTRACT §1",
    do="serve pluginregistration.Registration (the package is not v1) on the registration socket",
)
async def get_info(driver: DriverSubject) -> str:
    info = await driver.get_info()
    return f"{info.type} {info.name}, {len(info.versions)} versions"


@CASES.case(
    "type",
    "The type is DRAPlugin.",
    "CONTRACT §1",
    do='answer GetInfo with type "DRAPlugin"; with any other a kubelet hands the socket to another plugin manager',
)
async def kind(driver: DriverSubject) -> str:
    info = await driver.info()
    if info.type != PLUGIN_TYPE:
        raise Failed(f"type is {info.type!r}")
    return info.type


@CASES.case(
    "name",
    "The name is the driver name, a DNS subdomain of at most 63 characters.",
    "CONTRACT §1",
    do="use the name your ResourceSlices and DeviceClasses carry in spec.driver",
)
async def name(driver: DriverSubject) -> str:
    info = await driver.info()
    try:
        return check_driver_name(info.name)
    except InvalidInput as error:
        raise Failed(str(error)) from None


@CASES.case(
    "endpoint-absolute",
    "The endpoint is the absolute path of the DRA socket, at most 107 bytes long.",
    "CONTRACT §1",
    do="answer GetInfo with the socket's absolute path, as the kubelet sees it (not as the driver's container does)",
)
async def endpoint_absolute(driver: DriverSubject) -> str:
    endpoint = (await driver.info()).endpoint
    if not endpoint.startswith("/"):
        raise Failed(f"the endpoint is {endpoint!r}")
    if len(endpoint.encode()) > LONGEST_PATH:
        raise Failed(f"the endpoint's path has {len(endpoint.encode())} bytes")
    return endpoint


@CASES.case(
    "endpoint-reachable",
    "Behind the endpoint the driver answers.",
    "CONTRACT §1",
    do="listen on the endpoint before the registration socket appears: a kubelet dials it at once",
)
async def endpoint_reachable(driver: DriverSubject) -> str:
    endpoint = (await driver.info()).endpoint
    async with Line(endpoint):
        return f"{endpoint} is connected"


@CASES.case(
    "versions",
    "supported_versions are service names (v1.DRAPlugin, …), one DRA service at least.",
    "CONTRACT §1",
    do=f"list what is served, spelt so: {', '.join(ALL_VERSIONS)}",
)
async def versions(driver: DriverSubject) -> str:
    info = await driver.info()
    if not info.dra:
        raise Failed(f"no DRA service among {', '.join(map(repr, info.versions)) or 'none'}: a kubelet refuses the driver")
    if len(set(info.versions)) < len(info.versions):
        raise Warned(f"listed twice: {', '.join(info.versions)}")
    if unknown := [version for version in info.versions if version not in ALL_VERSIONS]:
        raise Warned(f"no kubelet to date knows {', '.join(map(repr, unknown))}", "nothing, if a later kubelet's service is meant")
    return ", ".join(info.versions)


@CASES.case(
    "dra-order",
    "The DRA version taken is the first in the driver's order that the kubelet knows.",
    "CONTRACT §1",
    do=f"list {DRA_VERSIONS[0]} before {DRA_VERSIONS[1]}",
)
async def dra_order(driver: DriverSubject) -> str:
    dra = (await driver.info()).dra
    if dra[:1] == [DRA_V1BETA1]:
        newer = " although v1.DRAPlugin is listed too" if len(dra) > 1 else " and no other"
        raise Warned(f"kubelets are made to take {DRA_V1BETA1}{newer}", "" if len(dra) > 1 else "serve v1.DRAPlugin too: v1beta1 will go")
    return " before ".join(dra) or "none is listed"


@CASES.case(
    "get-info-again",
    "GetInfo has the same answer each time, also several times on one connection.",
    "CONTRACT §1",
    do="answer GetInfo from what the driver is, whoever asks: observers ask it beside the kubelet, and a kubelet again after its restart",
)
async def get_info_again(driver: DriverSubject) -> str:
    first = await driver.info()
    async with Line(driver.socket) as line:
        answers = [await line.call(GET_INFO, timeout=min(10.0, driver.timeout)) for _ in range(3)]
    if bad := next((answer for answer in answers if answer.status is not Status.OK), None):
        raise Failed(f"asked again it ended with {bad}")
    if (again := await driver.get_info()) != first or len({answer.message for answer in answers}) > 1:
        raise Failed(f"first {first}, then {again}")
    return "the same five times"


@CASES.case(
    "socket-name",
    "A plugin puts a Unix socket <driver>-reg.sock, or <driver>-<podUID>-reg.sock, into the plugin directory.",
    "CONTRACT §1",
    do="name the socket so: kubelets skip names that begin with a dot, and people find the driver by the name",
)
async def socket_name(driver: DriverSubject) -> str:
    if driver.socket.name.startswith("."):
        raise Failed(f"{driver.socket.name} begins with a dot: a kubelet does not look at it")
    name = (await driver.info()).name
    if not re.fullmatch(re.escape(name) + r"(-[^/]+)?-reg\.sock", driver.socket.name):
        raise Warned(f"{driver.socket.name} (right, if the path would have been longer than {LONGEST_PATH} bytes)")
    return driver.socket.name


@CASES.case(
    "stale-sockets",
    "Killed drivers leave stale -reg.sock files.",
    "CONTRACT §1",
    do="take over or remove the sockets of former instances when the driver starts",
)
async def stale_sockets(driver: DriverSubject) -> Finding | str:
    name = (await driver.info()).name
    stale = await asyncio.to_thread(dead_sockets, driver.socket.parent, name)
    if stale:
        shown = ", ".join(stale[:5]) + (f" and {len(stale) - 5} more" if len(stale) > 5 else "")
        raise Warned(f"nobody listens any more at {shown}, in {driver.socket.parent}")
    return "none"


def dead_sockets(directory: Path, driver: str) -> list[str]:
    """The registration sockets of `driver` at which nobody listens. Blocks."""
    found = []
    for path in sorted(directory.glob("*.sock")):
        if path.name.startswith((f"{driver}-reg.", f"{driver}-")) and stat.S_ISSOCK(path.lstat().st_mode):
            try:
                connected(path).close()
            except ConnectionRefusedError:
                found.append(path.name)
            except OSError:
                continue
    return found
