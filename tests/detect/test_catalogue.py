"""Every rule that podvitals comes with, from raw signal to message; and the traps its sources warn of."""

import pytest

from podvitals.detect.detector import Reading
from podvitals.detect.evidence import Evidence
from podvitals.detect.nvlink5 import told
from podvitals.detect.rules.load import builtin
from podvitals.detect.rules.rule import Class, CodeMatch
from podvitals.detect.signal import Code, Count, Level, State, Unread
from podvitals.device.health import Health
from tests.detect.catalogue import ROWS
from tests.detect.catalogue.rows import ATTRIBUTES, Row

HOUR, DAY = 3600.0, 86400.0


def device() -> Evidence:
    evidence = Evidence(builtin())
    evidence.know("d", ATTRIBUTES)
    return evidence


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_a_rule_says_of_its_signal_what_the_catalogue_says(row: Row) -> None:
    evidence = device()
    for now, signals in row.steps:
        whole = not any(isinstance(signal, Code) for signal in signals)
        reading = evidence.take("d", signals, now, whole=whole)
    assert reading == Reading(row.health, row.message, row.action)
    assert evidence.counts("d").get(row.rule), "it is this rule that said so"


def test_every_rule_has_a_row() -> None:
    assert {rule.id for rule in builtin()} == {row.rule for row in ROWS}


def test_every_code_of_the_kernel_log_has_a_rule() -> None:
    ruled = {code for rule in builtin() if isinstance(rule.match, CodeMatch) and rule.match.table == "kmsg" for code in rule.match.codes}
    said = {line.code for line in builtin().lines.values() if line.table == "kmsg"}
    assert said == ruled


def test_every_fatal_or_degraded_rule_says_where_its_meaning_comes_from() -> None:
    assert [rule.id for rule in builtin() if rule.verdict.rank and not rule.source.startswith("https://") and rule.family != "probe"] == []


def test_every_rule_that_calls_a_device_unhealthy_ends_in_a_way_that_is_told() -> None:
    for rule in builtin():
        if rule.verdict is Class.FATAL and isinstance(rule.match, CodeMatch):
            assert rule.needs or rule.expires, rule.id


# --- how each way of ending works on real rules -----------------------------------------------------------------------------------------


def xid(number: int, evidence: Evidence, now: float) -> Reading:
    return evidence.take("d", [Code("xid", str(number))], now, whole=False)


def test_five_page_faults_in_a_day_on_one_gpu_escalate_and_four_do_not() -> None:
    for number in (13, 31):
        evidence = device()
        for fault in range(4):
            assert xid(number, evidence, fault * HOUR) == Reading.healthy()
        assert evidence.look("d", 24 * HOUR - 1) == Reading.healthy()
        assert xid(number, evidence, DAY - 2.0).message.startswith(f"Xid {number}: ")


def test_power_smoothing_engaged_again_clears_that_it_was_off() -> None:
    evidence = device()
    assert xid(163, evidence, 0.0).message
    assert evidence.look("d", 30 * DAY).message
    assert xid(162, evidence, 30 * DAY) == Reading.healthy()


def test_a_clean_up_after_another_error_follows_the_other() -> None:
    evidence = device()
    fault = xid(79, evidence, 0.0)
    assert xid(45, evidence, 0.1) == fault
    assert xid(45, device(), 0.0) == Reading.healthy()


def test_where_the_driver_tells_its_recovery_action_the_xid_table_does_not_overrule_it() -> None:
    evidence = device()
    evidence.take("d", [State("nvidia.recovery", "none")], 0.0)
    assert xid(48, evidence, 1.0).health is Health.HEALTHY
    asked = evidence.take("d", [State("nvidia.recovery", "reset")], 2.0)
    assert asked.health is Health.UNHEALTHY
    assert asked.message.endswith("Xid 48: Double-bit memory error (PCI 0000:3b:00.0)")


def test_what_the_log_says_of_an_nvlink_error_takes_the_place_of_nvml_s_event_whichever_comes_first() -> None:
    event = Code("xid", "149", params=(("by", "nvml"),))
    line = Code("xid", "149", params=tuple(told("149", "NETIR_LINK_DOWN Fatal XC0 i0 Link 01 (0x00000011 0x00000000)").items()))
    corrected = Code("xid", "146", params=tuple(told("146", "TLW_CTRL Nonfatal XC0 i0 Link 00 (0x00000009 0x00000001)").items()))
    for told_by in (("nvidia", "kmsg"), ("kmsg", "nvidia")):
        evidence = device()
        for source in told_by:
            reading = evidence.take("d", [line if source == "kmsg" else event], 1.0, whole=False, source=source)
        assert reading.message == "Xid 149: NVLink 5 error NETIR_LINK_DOWN, link 01 (PCI 0000:3b:00.0)"
        for source in told_by:
            code = corrected if source == "kmsg" else Code("xid", "146", params=(("by", "nvml"),))
            after = evidence.take("d", [code], 100.0, whole=False, source=source)
        assert after == reading, "what was corrected is nothing"
    assert evidence.take("d", [event], 200.0, whole=False, source="nvidia") != reading, "a later event is another one"


def test_a_gpu_that_fell_off_the_bus_is_unhealthy_whatever_its_recovery_action_was() -> None:
    evidence = device()
    evidence.take("d", [State("nvidia.recovery", "none")], 0.0)
    assert xid(79, evidence, 1.0).health is Health.UNHEALTHY


def test_of_two_fatal_xids_the_action_is_that_which_mends_both_whichever_came_first() -> None:
    for first, second in ((48, 79), (79, 48)):
        evidence = device()
        xid(first, evidence, 0.0)
        assert xid(second, evidence, 1.0).action == "power-cycle"


def test_the_action_is_that_of_what_is_worst_and_not_of_what_only_degrades() -> None:
    evidence = device()
    xid(238, evidence, 0.0)  # unknown: degraded, service
    reading = xid(48, evidence, 1.0)
    assert (reading.health, reading.action) == (Health.UNHEALTHY, "reset-gpu")


def test_three_nonfatal_pcie_errors_in_an_hour_are_fatal_and_in_two_hours_not() -> None:
    for pause, health in ((1000.0, Health.UNHEALTHY), (HOUR - 1, Health.HEALTHY)):
        evidence = device()
        for number in range(4):
            reading = evidence.take("d", [Count("pcie.aer_nonfatal", number)], number * pause)
        assert reading.health is health


def test_correctable_pcie_errors_slower_than_100_a_minute_say_nothing() -> None:
    evidence = device()
    for number in range(60):
        reading = evidence.take("d", [Count("pcie.aer_correctable", number * 8)], number * 5.0)
        assert reading == Reading.healthy(), "96 a minute"


def test_memory_that_failed_stays_so_until_it_was_serviced_though_the_counter_is_0_again() -> None:
    evidence = device()
    evidence.take("d", [Count("amd.ras_ue", 1, "umc")], 0.0)
    assert evidence.take("d", [Count("amd.ras_ue", 0, "umc")], DAY).health is Health.UNHEALTHY
    assert evidence.take("d", [Code("life", "service")], DAY + 1, whole=False) == Reading.healthy()


def test_a_fatal_firmware_record_older_than_a_day_says_nothing() -> None:
    for age, health in ((DAY - 60, Health.UNHEALTHY), (DAY + 60, Health.HEALTHY)):
        assert device().take("d", [Code("cper", "fatal", age=age)], 2 * DAY, whole=False).health is health


def test_symbol_errors_at_the_rate_a_good_cable_has_say_nothing() -> None:
    evidence = device()
    for number in range(240):
        assert evidence.take("d", [Count("rdma.symbol_error", number // 2, "1")], number * 30.0) == Reading.healthy(), "60 an hour"


def test_a_disk_that_was_read_only_from_the_beginning_is_healthy() -> None:
    evidence = device()
    for now in (0.0, 5.0):
        assert evidence.take("d", [State("block.read_only", "1")], now) == Reading.healthy()


def test_a_device_that_cannot_be_read_is_unknown_in_every_family_and_never_unhealthy() -> None:
    for name in ("amd.ras_ue", "pcie.aer_fatal", "rdma.state", "nvme.state", "node.presence", "fpga.state", "nvidia.recovery"):
        assert device().take("d", [Unread(name, "Permission denied")], 0.0).health is Health.UNKNOWN


def test_a_node_that_vanished_is_healthy_again_when_it_is_back() -> None:
    evidence = device()
    assert evidence.take("d", [State("node.presence", "missing")], 0.0).health is Health.UNHEALTHY
    assert evidence.take("d", [State("node.presence", "present"), State("node.kind", "character device")], 5.0) == Reading.healthy()


def test_an_fpga_that_is_being_programmed_is_no_fault() -> None:
    evidence = device()
    for now, state in ((0.0, "operating"), (5.0, "write"), (10.0, "write complete"), (13.0, "operating")):
        assert evidence.take("d", [State("fpga.state", state)], now) == Reading.healthy()


def test_a_fault_of_one_gpu_is_not_its_neighbours() -> None:
    evidence = device()
    xid(79, evidence, 0.0)
    assert evidence.take("other", [Level("pcie.link_width", 16)], 0.0) == Reading.healthy()
