"""Who speaks: the rules told one by one, the whole table, and every short story of three endpoints against a naive answer."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.node.record import SourceKey
from podvitals.node.session import TRANSITIONS, Connected, Disconnected, Event, Session, Speaks, Stage

GPU = SourceKey("gpu.example.com")
OLD, NEW = 1, 2


def rolling_update() -> Session:
    session = Session()
    session.register(OLD, GPU, born=100)
    session.on(OLD, Event.CONNECT)
    session.on(OLD, Event.REPORT)
    session.register(NEW, GPU, born=200)
    return session


def test_the_old_endpoint_speaks_until_the_new_one_has_reported() -> None:
    session = rolling_update()
    assert session.on(NEW, Event.CONNECT) == ()
    assert session.speaker(GPU) == OLD
    (handed,) = session.on(NEW, Event.REPORT)
    assert handed == Speaks(GPU, NEW, 2)
    assert session.generation(OLD) is None


def test_the_old_endpoint_speaks_again_when_the_new_one_is_gone_and_with_a_new_generation() -> None:
    session = rolling_update()
    session.on(NEW, Event.CONNECT)
    session.on(NEW, Event.REPORT)
    assert session.on(NEW, Event.DISCONNECT) == (Speaks(GPU, OLD, 3),)


def test_an_endpoint_whose_stream_ended_gives_the_floor_back_but_still_takes_calls() -> None:
    session = rolling_update()
    session.on(NEW, Event.CONNECT)
    session.on(NEW, Event.REPORT)
    assert session.on(NEW, Event.STREAM_END) == (Speaks(GPU, OLD, 3),)
    assert session.connected("gpu.example.com") == (NEW, OLD)


def test_calls_go_to_the_newest_connected_endpoint_whether_it_reported_or_not() -> None:
    session = rolling_update()
    assert session.connected("gpu.example.com") == (OLD,)
    session.on(NEW, Event.CONNECT)
    assert session.connected("gpu.example.com") == (NEW, OLD)


def test_an_old_endpoint_that_registers_late_does_not_take_the_floor() -> None:
    session = Session()
    for endpoint, born in ((NEW, 200), (OLD, 100)):
        session.register(endpoint, GPU, born)
        session.on(endpoint, Event.CONNECT)
        session.on(endpoint, Event.REPORT)
    assert session.speaker(GPU) == NEW


def test_a_report_of_a_connection_that_is_gone_means_nothing() -> None:
    session = rolling_update()
    session.on(OLD, Event.DISCONNECT)
    assert session.on(OLD, Event.REPORT) == ()
    assert session.generation(OLD) is None


def test_a_driver_is_unreachable_while_a_socket_is_registered_and_gone_after() -> None:
    session = Session()
    assert session.register(OLD, GPU, 1) == (Disconnected(GPU, "unreachable"),)
    assert session.on(OLD, Event.CONNECT) == (Connected(GPU),)
    assert session.on(OLD, Event.DISCONNECT) == (Disconnected(GPU, "unreachable"),)
    assert session.on(OLD, Event.REMOVE) == (Disconnected(GPU, "gone"),)
    assert session.stage(OLD) is Stage.REMOVED


def test_an_auxiliary_source_has_a_speaker_of_its_own() -> None:
    session = rolling_update()
    xid = SourceKey("gpu.example.com", "xid")
    session.register(9, xid, 300)
    session.on(9, Event.CONNECT)
    assert session.on(9, Event.REPORT) == (Speaks(xid, 9, 2),)
    assert session.speaker(GPU) == OLD
    assert session.connected("gpu.example.com") == (OLD,)


@pytest.mark.parametrize(("stage", "event"), list(itertools.product(Stage, Event)))
def test_the_table_is_all_there_is(stage: Stage, event: Event) -> None:
    session = Session()
    session.register(OLD, GPU, 1)
    for step in {Stage.CONNECTED: [Event.CONNECT], Stage.REPORTING: [Event.CONNECT, Event.REPORT], Stage.REMOVED: [Event.REMOVE]}.get(
        stage, []
    ):
        session.on(OLD, step)
    assert session.stage(OLD) is stage
    effects = session.on(OLD, event)
    assert session.stage(OLD) is TRANSITIONS.get((stage, event), stage)
    if (stage, event) not in TRANSITIONS:
        assert effects == ()


STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*Event, "register"])), max_size=30)


@given(steps=STEPS, born=st.permutations([10, 20, 30]))
@settings(max_examples=300, deadline=None)
def test_at_each_moment_the_newest_reporting_endpoint_and_no_other_has_authority(steps: list[tuple[int, str]], born: list[int]) -> None:
    session, stages, generations = Session(), dict[int, Stage](), [0]
    linked = False
    for endpoint, step in steps:
        if step == "register":
            if endpoint not in stages:
                session.register(endpoint, GPU, born[endpoint])
                stages[endpoint] = Stage.REGISTERED
            continue
        effects = session.on(endpoint, Event(step))
        if endpoint in stages:
            stages[endpoint] = TRANSITIONS.get((stages[endpoint], Event(step)), stages[endpoint])
            if stages[endpoint] is Stage.REMOVED:
                del stages[endpoint]
        reporting = [one for one in stages if stages[one] is Stage.REPORTING]
        speaker = max(reporting, key=lambda one: born[one], default=None)
        assert session.speaker(GPU) == speaker
        assert [one for one in range(3) if session.generation(one) is not None] == ([] if speaker is None else [speaker])
        for effect in effects:
            if isinstance(effect, Speaks):
                assert effect.generation > max(generations)
                generations.append(effect.generation)
            elif isinstance(effect, Connected):
                assert not linked
                linked = True
            else:
                linked = False
        assert linked == any(stage in (Stage.CONNECTED, Stage.REPORTING) for stage in stages.values())
