"""The bytes on the wire, written by hand from CONTRACT's tables: field numbers are what other implementations know us by."""

from podvitals.device.health import Health
from podvitals.wire import convert
from podvitals.wire.messages import ClaimRef, DeviceReport, PluginInfo, PreparedDevice, PrepareResult
from podvitals.wire.services import GET_INFO, NOTIFY, prepare_method, unprepare_method, watch_method


def field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


INFO = PluginInfo("DRAPlugin", "gpu.example.com", "/run/dra.sock", ("v1.DRAPlugin", "v1.DRAResourceHealth"))
INFO_BYTES = (
    field(1, "DRAPlugin")
    + field(2, "gpu.example.com")
    + field(3, "/run/dra.sock")
    + field(4, "v1.DRAPlugin")
    + field(4, "v1.DRAResourceHealth")
)


def test_plugin_info() -> None:
    assert convert.encode_info(INFO) == INFO_BYTES
    assert convert.decode_info(INFO_BYTES) == INFO


def test_registration_status() -> None:
    assert convert.encode_status(True, "") == field(1, 1)
    assert convert.encode_status(False, "no") == field(2, "no")
    assert convert.decode_status(field(1, 1) + field(2, "no")) == (True, "no")


def test_text_that_cannot_be_utf8_is_sent_repaired() -> None:
    assert convert.encode_status(False, "bad \udcff") == field(2, "bad ?")


CLAIMS = [ClaimRef("ml", "uid-1", "gpus"), ClaimRef("ml", "uid-2", "nics")]
CLAIMS_BYTES = field(1, field(1, "ml") + field(2, "uid-1") + field(3, "gpus")) + field(
    1, field(1, "ml") + field(2, "uid-2") + field(3, "nics")
)


def test_claims() -> None:
    assert convert.encode_claims(CLAIMS) == CLAIMS_BYTES
    assert convert.decode_claims(CLAIMS_BYTES) == CLAIMS


def test_prepared_claims() -> None:
    results = {
        "uid-2": PrepareResult(error="no such device"),
        "uid-1": PrepareResult((PreparedDevice(("gpu", "gpu/big"), "node1", "gpu-3", ("a.com/gpu=3", "a.com/all=x"), "share-1"),)),
    }
    device = (
        field(1, "gpu") + field(1, "gpu/big") + field(2, "node1") + field(3, "gpu-3") + field(4, "a.com/gpu=3") + field(4, "a.com/all=x")
    )
    raw = field(1, field(1, "uid-1") + field(2, field(1, device + field(5, "share-1")))) + field(
        1, field(1, "uid-2") + field(2, field(2, "no such device"))
    )
    assert convert.encode_prepared(results) == raw
    assert convert.decode_prepared(raw) == results


def test_a_prepared_claim_without_devices_still_has_its_entry() -> None:
    assert convert.encode_prepared({"uid-1": PrepareResult()}) == field(1, field(1, "uid-1") + field(2, b""))
    assert convert.decode_prepared(field(1, field(1, "uid-1"))) == {"uid-1": PrepareResult()}


def test_a_share_id_that_is_empty_is_not_a_missing_one() -> None:
    device = PreparedDevice((), "node1", "gpu-3", (), "")
    assert convert.decode_prepared(convert.encode_prepared({"u": PrepareResult((device,))})) == {"u": PrepareResult((device,))}


def test_unprepared_claims() -> None:
    raw = field(1, field(1, "uid-1") + field(2, b"")) + field(1, field(1, "uid-2") + field(2, field(1, "busy")))
    assert convert.encode_unprepared({"uid-2": "busy", "uid-1": ""}) == raw
    assert convert.decode_unprepared(raw) == {"uid-1": "", "uid-2": "busy"}


def test_a_health_report() -> None:
    gpu = DeviceReport("node1", "gpu-3", Health.UNHEALTHY, 1_700_000_000.0, 15.0, "Xid 79", "power-cycle")
    nic = DeviceReport("node1", "nic-0", Health.HEALTHY, 1_700_000_001.0, 0.0)
    raw = field(
        1,
        field(1, field(1, "node1") + field(2, "gpu-3"))
        + field(2, 2)
        + field(3, 1_700_000_000)
        + field(4, 15)
        + field(5, "Xid 79")
        + field(1001, "power-cycle"),
    ) + field(1, field(1, field(1, "node1") + field(2, "nic-0")) + field(2, 1) + field(3, 1_700_000_001))
    assert convert.encode_report([gpu, nic]) == [raw]
    assert convert.decode_report(raw).devices == (gpu, nic)
    assert convert.decode_report(raw).refusals == ()


def test_the_names_of_the_services() -> None:
    assert (GET_INFO, NOTIFY) == ("/pluginregistration.Registration/GetInfo", "/pluginregistration.Registration/NotifyRegistrationStatus")
    assert prepare_method("v1.DRAPlugin") == "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources"
    assert unprepare_method("v1beta1.DRAPlugin") == "/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/NodeUnprepareResources"
    assert watch_method("v1.DRAResourceHealth") == "/v1.DRAResourceHealth/NodeWatchResources"
    assert watch_method("v1alpha1.DRAResourceHealth") == "/v1alpha1.DRAResourceHealth/NodeWatchResources"
