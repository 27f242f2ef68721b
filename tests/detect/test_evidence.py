"""Signals and rules in, Readings out: each way in which something begins and ends."""

import json

import pytest

from podvitals.detect.damping import Damping
from podvitals.detect.detector import Reading
from podvitals.detect.evidence import Evidence
from podvitals.detect.rules.load import read_rules
from podvitals.detect.rules.rule import Rules
from podvitals.detect.signal import Code, Count, Level, Signal, State, Unread
from podvitals.device.health import Health
from tests.detect.rulesets import toys

HOUR = 3600.0
LATCHED = """
[toy.broken]
match = { level = "toy.broken", above = 0 }
class = "fatal"
message = "broken"
needs = "service"

[toy.record]
match = { table = "toy", code = "record" }
class = "fatal"
message = "recorded"
needs = "service"
fresh = "1h"
"""


@pytest.fixture
def evidence() -> Evidence:
    return Evidence(toys(), Damping(changes=100))


def told(evidence: Evidence, now: float, *signals: Signal, device: str = "d") -> Reading:
    return evidence.take(device, signals, now, whole=False)


def polled(evidence: Evidence, now: float, *signals: Signal, device: str = "d") -> Reading:
    return evidence.take(device, signals, now, whole=True)


def test_a_device_of_which_nothing_bad_is_said_is_healthy_without_a_word(evidence: Evidence) -> None:
    assert polled(evidence, 0.0, State("toy.link", "up", "0")) == Reading.healthy()


def test_a_fatal_code_is_unhealthy_with_its_message_and_action(evidence: Evidence) -> None:
    evidence.know("d", {"resource.kubernetes.io/pciBusID": "0000:3b:00.0"})
    reading = told(evidence, 0.0, Code("toy", "dead"))
    assert reading == Reading.unhealthy("dead (PCI 0000:3b:00.0)", action="power-cycle")


def test_a_fault_that_needs_a_reset_stays_until_the_reset(evidence: Evidence) -> None:
    told(evidence, 0.0, Code("toy", "stuck"))
    assert polled(evidence, 1e6).health is Health.UNHEALTHY
    assert told(evidence, 1e6 + 1, Code("life", "reset")).health is Health.HEALTHY


def test_a_reset_does_not_end_what_needs_a_reboot_or_a_service(evidence: Evidence) -> None:
    told(evidence, 0.0, Code("toy", "dead"), Code("toy", "worn"))
    assert told(evidence, 1.0, Code("life", "reset")).message == "dead; worn out"
    assert evidence.needed("d") == {"reboot", "service"}


def test_a_device_that_was_serviced_needs_nothing_more(evidence: Evidence) -> None:
    told(evidence, 0.0, Code("toy", "dead"), Code("toy", "worn"), Code("toy", "stuck"))
    assert told(evidence, 1.0, Code("life", "service")) == Reading.healthy()


def test_what_was_read_before_a_service_does_not_bring_the_fault_back_but_what_is_read_after_it_does() -> None:
    evidence = Evidence(read_rules(LATCHED, "latched.toml", Rules(), origin=""))
    assert polled(evidence, 0.0, Count("toy.broken", 1)).health is Health.UNHEALTHY
    assert told(evidence, 1.0, Code("life", "service")) == Reading.healthy()
    assert polled(evidence, 2.0, Count("toy.broken", 0)) == Reading.healthy()
    assert polled(evidence, 3.0, Count("toy.broken", 2)).health is Health.UNHEALTHY


def test_what_several_families_know_of_a_device_is_put_together_and_none_takes_it_for_another(evidence: Evidence) -> None:
    evidence.know("d", {"serial": "A", "resource.kubernetes.io/pciBusID": "0000:3b:00.0"}, "library")
    told(evidence, 0.0, Code("toy", "worn"), Code("toy", "dead"))
    evidence.know("d", {"serial": "000A", "driver": "toy"}, "bus")
    assert told(evidence, 1.0, Code("toy", "dead")).message == "worn out; dead (PCI 0000:3b:00.0)"


def test_an_old_record_begins_nothing_that_would_last() -> None:
    evidence = Evidence(read_rules(LATCHED, "latched.toml", Rules(), origin=""))
    assert told(evidence, 9000.0, Code("toy", "record", age=3601.0)) == Reading.healthy()
    assert told(evidence, 9000.0, Code("toy", "record", age=3600.0)).health is Health.UNHEALTHY


def test_another_serial_number_under_the_name_is_another_device(evidence: Evidence) -> None:
    evidence.know("d", {"serial": "A"})
    told(evidence, 0.0, Code("toy", "worn"))
    evidence.know("d", {"serial": "A"})
    assert evidence.look("d", 1.0).health is Health.UNHEALTHY
    evidence.know("d", {"serial": "B"})
    assert evidence.look("d", 2.0).health is Health.HEALTHY


def test_a_programs_fault_gives_no_verdict_but_is_counted_and_repeats_escalate(evidence: Evidence) -> None:
    assert told(evidence, 0.0, Code("toy", "bug")) == Reading.healthy()
    assert told(evidence, 10.0, Code("toy", "bug")) == Reading.healthy()
    assert told(evidence, 20.0, Code("toy", "bug")) == Reading.unhealthy("bugs again and again", action="reset-gpu")
    assert evidence.counts("d") == {"toy.bug": 3}


def test_what_two_families_tell_of_one_event_is_one_event() -> None:
    evidence = Evidence(toys(), Damping(changes=100))
    for at in (0.0, 60.0):
        evidence.take("d", [Code("toy", "bug")], at, whole=False, source="library")
        evidence.take("d", [Code("toy", "bug")], at + 0.2, whole=False, source="log")
    assert evidence.counts("d") == {"toy.bug": 2}
    assert evidence.look("d", 61.0) == Reading.healthy()
    evidence.take("d", [Code("toy", "bug")], 120.0, whole=False, source="log")
    assert evidence.look("d", 120.0).message == "bugs again and again", "the library missed the third"


def test_repeats_that_are_too_far_apart_do_not_escalate(evidence: Evidence) -> None:
    for number in range(10):
        assert told(evidence, number * 0.51 * HOUR, Code("toy", "bug")) == Reading.healthy()


def test_repeats_on_two_devices_do_not_add_up(evidence: Evidence) -> None:
    for number in range(4):
        assert told(evidence, float(number), Code("toy", "bug"), device=f"d{number % 2}") == Reading.healthy()


def test_an_escalation_ends_after_its_quiet_time_not_when_the_window_moves_on(evidence: Evidence) -> None:
    for at in (0.0, 10.0, 20.0):
        told(evidence, at, Code("toy", "bug"))
    assert polled(evidence, 20.0 + HOUR - 1).health is Health.UNHEALTHY
    assert polled(evidence, 20.0 + HOUR).health is Health.HEALTHY


def test_the_second_of_a_pair_cancels_the_first(evidence: Evidence) -> None:
    assert told(evidence, 0.0, Code("toy", "off")) == Reading.healthy("smoothing is off")
    assert polled(evidence, 1e6) == Reading.healthy("smoothing is off")
    assert told(evidence, 1e6 + 1, Code("toy", "on")) == Reading.healthy()


def test_an_unknown_code_is_told_by_the_rule_for_any_other_and_expires(evidence: Evidence) -> None:
    assert told(evidence, 0.0, Code("toy", "4711")) == Reading.healthy("code 4711: unknown")
    assert polled(evidence, 60.0) == Reading.healthy()


PARTS = """
[toy.link]
match = { table = "toy", code = "link" }
class = "fatal"
message = "error on link {link}"
per = "link"
expires = "1h"

[toy.quiet]
match = { state = "toy.quiet", is = "yes" }
class = "healthy"
message = "quiet"
clears = true
"""


def test_something_said_of_two_parts_is_two_reasons_and_of_very_many_one_more() -> None:
    evidence = Evidence(read_rules(PARTS, "parts.toml", Rules(), origin=""))
    for link in ("1", "2", "1"):
        reading = told(evidence, 0.0, Code("toy", "link", params=(("link", link),)))
    assert reading.message == "error on link 1; error on link 2"
    for number in range(1000):
        told(evidence, 1.0, Code("toy", "link", params=(("link", str(number)),)))
    assert len(evidence.reasons("d")) == 33


def test_a_rule_that_says_nothing_is_counted_when_it_begins_not_each_time_it_is_read() -> None:
    evidence = Evidence(read_rules(PARTS, "parts.toml", Rules(), origin=""))
    for at, state in enumerate(("yes", "yes", "no", "yes", "yes")):
        assert polled(evidence, float(at), State("toy.quiet", state)) == Reading.healthy()
    assert evidence.counts("d") == {"toy.quiet": 2}


def test_a_rule_about_details_goes_before_the_one_about_the_code_alone(evidence: Evidence) -> None:
    assert told(evidence, 0.0, Code("toy", "stuck", params=(("how", "lightly"),))) == Reading.healthy("stuck lightly")


def test_what_was_said_too_long_ago_does_not_count(evidence: Evidence) -> None:
    assert told(evidence, 9000.0, Code("toy", "old", age=3601.0)) == Reading.healthy()
    assert told(evidence, 9000.0, Code("toy", "old", age=600.0)).health is Health.UNHEALTHY
    assert polled(evidence, 9000.0 + 3000.0) == Reading.healthy(), "an hour after it was said, not after it was read"


def test_the_first_value_of_a_counter_is_a_baseline_and_no_growth(evidence: Evidence) -> None:
    assert polled(evidence, 0.0, Count("toy.errors", 1000)) == Reading.healthy()
    assert polled(evidence, 5.0, Count("toy.errors", 1000)) == Reading.healthy()
    assert polled(evidence, 10.0, Count("toy.errors", 1001)) == Reading.healthy("errors")


def test_a_counter_that_began_anew_is_no_growth_of_2_to_the_64(evidence: Evidence) -> None:
    polled(evidence, 0.0, Count("toy.errors", 2**63))
    assert polled(evidence, 5.0, Count("toy.errors", 0)) == Reading.healthy()
    assert polled(evidence, 10.0, Count("toy.errors", 2)) == Reading.healthy("errors")


def test_a_counter_that_grows_by_many_at_once_escalates_by_how_much_it_grew(evidence: Evidence) -> None:
    polled(evidence, 0.0, Count("toy.errors", 0))
    assert polled(evidence, 5.0, Count("toy.errors", 3)) == Reading.unhealthy("many errors")


def test_a_rate_begins_above_its_limit_and_ends_below_it(evidence: Evidence) -> None:
    value = 0
    polled(evidence, 0.0, Count("toy.corrected", value, "p"))
    for at in range(5, 65, 5):
        value += 9
        reading = polled(evidence, float(at), Count("toy.corrected", value, "p"))
    assert reading == Reading.healthy("storm on p"), "108 in a minute"
    assert polled(evidence, 65.0, Count("toy.corrected", value, "p")) == Reading.healthy()


def test_growth_over_a_long_time_is_spread_over_it_and_makes_no_rate(evidence: Evidence) -> None:
    polled(evidence, 0.0, Count("toy.corrected", 0, "p"))
    assert polled(evidence, 600.0, Count("toy.corrected", 900, "p")) == Reading.healthy(), "90 a minute, looked at once in ten"
    assert polled(evidence, 1200.0, Count("toy.corrected", 2000, "p")) == Reading.healthy("storm on p")


def test_each_part_of_a_device_is_judged_by_itself(evidence: Evidence) -> None:
    links = [State("toy.link", "up", "0"), State("toy.link", "down", "1"), State("toy.link", "lost", "2")]
    assert polled(evidence, 0.0, *links) == Reading.unhealthy("link 1 is down; link 2 is lost")
    assert polled(evidence, 1.0, *links[:2]) == Reading.unhealthy("link 1 is down"), "a part that is not read any more has no fault"


def test_a_state_that_could_not_be_read_again_is_neither_over_nor_new(evidence: Evidence) -> None:
    polled(evidence, 0.0, State("toy.link", "down", "1"))
    reading = polled(evidence, 1.0, Unread("toy.link", "Permission denied", "1"))
    assert reading == Reading.unhealthy("link 1 is down; cannot read link of 1: Permission denied")
    assert polled(evidence, 2.0, State("toy.link", "up", "1")) == Reading.healthy()


def test_a_probe_that_fails_is_unknown_and_never_unhealthy(evidence: Evidence) -> None:
    reading = polled(evidence, 0.0, Unread("toy.link", "Input/output error", "1"), Unread("toy.width", "Input/output error"))
    assert reading == Reading.unknown("cannot read link of 1, width: Input/output error")


def test_what_was_pushed_after_a_reading_began_is_newer_than_the_reading(evidence: Evidence) -> None:
    told(evidence, 10.0, State("toy.link", "down", "1"))
    reading = evidence.take("d", [State("toy.link", "up", "1")], 11.0, whole=True, since=9.0)
    assert reading.health is Health.UNHEALTHY
    assert evidence.take("d", [State("toy.link", "up", "1")], 13.0, whole=True, since=12.0) == Reading.healthy()


def test_what_only_became_so_is_told_from_what_always_was(evidence: Evidence) -> None:
    assert polled(evidence, 0.0, State("toy.frozen", "1"), device="cdrom") == Reading.healthy()
    polled(evidence, 0.0, State("toy.frozen", "0"), device="disk")
    assert polled(evidence, 1.0, State("toy.frozen", "1"), device="disk") == Reading.unhealthy("became frozen")


def test_a_level_counts_only_when_it_has_lasted_and_also_by_time_alone(evidence: Evidence) -> None:
    narrow = (Level("toy.width", 8), Level("toy.max_width", 16))
    assert polled(evidence, 0.0, *narrow) == Reading.healthy()
    assert evidence.look("d", 29.9) == Reading.healthy()
    assert evidence.look("d", 30.0) == Reading.healthy("x8 of x16")
    assert polled(evidence, 31.0, Level("toy.width", 16), Level("toy.max_width", 16)) == Reading.healthy()


def test_a_level_that_went_back_in_time_never_counted(evidence: Evidence) -> None:
    polled(evidence, 0.0, Level("toy.width", 8), Level("toy.max_width", 16))
    polled(evidence, 20.0, Level("toy.width", 16), Level("toy.max_width", 16))
    assert polled(evidence, 40.0, Level("toy.width", 8), Level("toy.max_width", 16)) == Reading.healthy()


def test_a_level_without_the_one_it_is_set_against_says_nothing(evidence: Evidence) -> None:
    polled(evidence, 0.0, Level("toy.width", 8))
    assert polled(evidence, 100.0, Level("toy.width", 8)) == Reading.healthy()


def test_what_is_held_ends_some_time_after_its_match(evidence: Evidence) -> None:
    assert polled(evidence, 0.0, Level("toy.temperature", 100)) == Reading.healthy("hot")
    assert polled(evidence, 10.0, Level("toy.temperature", 99)) == Reading.healthy("hot")
    assert polled(evidence, 69.9, Level("toy.temperature", 99)) == Reading.healthy("hot")
    assert evidence.look("d", 70.0) == Reading.healthy()


def test_a_rule_that_yields_is_degraded_while_the_better_source_is_known(evidence: Evidence) -> None:
    assert told(evidence, 0.0, Code("toy", "yields")).health is Health.UNHEALTHY
    assert polled(evidence, 1.0, State("toy.asked", "none")) == Reading.healthy("perhaps")
    assert polled(evidence, 2.0, State("toy.asked", "reset")) == Reading.unhealthy("asked for a reset; perhaps")
    assert polled(evidence, 3.0, Unread("toy.asked", "gone")).message.startswith("perhaps; asked for a reset; cannot read")


def test_all_reasons_are_kept_the_worst_first_then_as_they_came(evidence: Evidence) -> None:
    told(evidence, 0.0, Code("toy", "off"))
    told(evidence, 1.0, State("toy.link", "down", "7"))
    told(evidence, 2.0, Code("toy", "dead"))
    told(evidence, 3.0, Unread("toy.width", "busy"))
    reading = told(evidence, 4.0, Code("toy", "errorless"))
    assert reading.message == "link 7 is down; dead; cannot read width: busy; smoothing is off; code errorless: unknown"
    assert reading.action == "power-cycle"


def test_a_message_of_many_reasons_is_cut_at_1024_bytes(evidence: Evidence) -> None:
    reading = polled(evidence, 0.0, *(State("toy.link", "дown", str(number)) for number in range(200)))
    assert reading.health is Health.UNHEALTHY
    assert 1000 < len(reading.message.encode()) <= 1024


def test_the_same_state_is_the_same_text(evidence: Evidence) -> None:
    first = polled(evidence, 0.0, State("toy.link", "down", "1"), Unread("toy.width", "busy"))
    assert polled(evidence, 777.0, State("toy.link", "down", "1"), Unread("toy.width", "busy")) == first


def test_what_comes_and_goes_is_held_at_its_worst_with_one_text_for_both() -> None:
    evidence = Evidence(toys(), Damping(changes=8, window=600.0))
    said = [told(evidence, at, State("toy.link", "down" if int(at) % 2 else "up", "0")) for at in map(float, range(20))]
    assert said[-1] == said[-2] == Reading.unhealthy("link 0 is down (it comes and goes)")
    assert len({reading.message for reading in said}) == 3
    assert evidence.look("d", 700.0).health is Health.UNHEALTHY, "the last word was that it is down"
    told(evidence, 701.0, State("toy.link", "up", "0"))
    assert evidence.look("d", 701.0) == Reading.healthy()


def test_each_transition_carries_its_evidence(evidence: Evidence) -> None:
    polled(evidence, 0.0)
    told(evidence, 1.0, Code("toy", "stuck"))
    told(evidence, 2.0, Code("life", "reset"))
    began, ended = evidence.transitions("d")
    assert (began.at, began.was, began.now, [r.rule for r in began.because]) == (1.0, 0, 3, ["toy.stuck"])
    assert (ended.at, ended.was, ended.now, [r.rule for r in ended.because]) == (2.0, 3, 0, ["toy.stuck"])


def saved(evidence: Evidence, now: float, wall: float, boot: str) -> Evidence:
    document = json.loads(json.dumps(evidence.snapshot(100.0, 1000.0, "boot-1")))
    fresh = Evidence(toys(), Damping(changes=100))
    fresh.restore(document, now, wall, boot)
    return fresh


def test_a_needed_reset_survives_a_restart_and_ends_with_a_reboot(evidence: Evidence) -> None:
    told(evidence, 50.0, Code("toy", "stuck"), Code("toy", "dead"), Code("toy", "worn"))
    assert saved(evidence, 110.0, 1010.0, "boot-1").look("d", 110.0).message == "stuck; dead; worn out"
    assert saved(evidence, 30.0, 1200.0, "boot-2").look("d", 30.0).message == "worn out"


def test_what_another_family_told_before_a_restart_is_still_the_same_event_after_it(evidence: Evidence) -> None:
    evidence.take("d", [Code("toy", "bug")], 99.0, whole=False, source="library")
    fresh = saved(evidence, 101.0, 1001.0, "boot-1")
    fresh.take("d", [Code("toy", "bug")], 101.0, whole=False, source="log")
    assert fresh.counts("d") == {"toy.bug": 1}


def test_counters_keep_their_baseline_over_a_restart_and_lose_it_with_a_reboot(evidence: Evidence) -> None:
    polled(evidence, 50.0, Count("toy.errors", 7))
    assert polled(saved(evidence, 110.0, 1010.0, "boot-1"), 110.0, Count("toy.errors", 8)) == Reading.healthy("errors")
    assert polled(saved(evidence, 30.0, 1200.0, "boot-2"), 30.0, Count("toy.errors", 8)) == Reading.healthy()


def test_a_quiet_time_goes_on_over_a_reboot_by_the_wall_clock(evidence: Evidence) -> None:
    for at in (97.0, 98.0, 99.0):
        told(evidence, at, Code("toy", "bug"))
    assert saved(evidence, 30.0, 1000.0 + HOUR - 10, "boot-2").look("d", 30.0).health is Health.UNHEALTHY
    assert saved(evidence, 30.0, 1000.0 + HOUR, "boot-2").look("d", 30.0).health is Health.HEALTHY


def test_a_snapshot_of_another_format_is_refused(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="format"):
        evidence.restore({"format": 99}, 0.0, 0.0, "b")
