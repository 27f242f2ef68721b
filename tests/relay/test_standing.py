"""Which stand-ins a driver has with the kubelet."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.relay.standing import WITHDRAW_AFTER, Answer, Close, Effect, Open, StandIn, Standing, offered
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1

BOTH = (HEALTH_V1, HEALTH_V1ALPHA1)
V1 = (DRA_V1, *BOTH)


def registered(versions: tuple[str, ...] = (DRA_V1,)) -> Standing:
    standing = Standing()
    standing.serves(versions)
    standing.notified(1, True, "")
    return standing


def test_a_driver_is_offered_with_its_own_services_in_its_order_and_both_health_services() -> None:
    effects = Standing().serves((DRA_V1BETA1, "v1alpha1.DRAResourceHealth", "v9.DRAPlugin", DRA_V1))
    assert effects == (Open(StandIn(1, (DRA_V1BETA1, "v9.DRAPlugin", DRA_V1, *BOTH))),)


def test_a_driver_that_comes_and_goes_within_the_hold_changes_nothing() -> None:
    standing = registered()
    standing.away(10.0)
    assert standing.expire(10.0 + WITHDRAW_AFTER - 0.001) == ()
    assert standing.serves((DRA_V1,)) == ()
    assert standing.next_deadline() is None


def test_other_versions_are_offered_beside_the_old_and_the_old_goes_when_they_are_taken() -> None:
    standing = registered()
    assert standing.serves((DRA_V1BETA1,)) == (Open(StandIn(2, (DRA_V1BETA1, *BOTH))),)
    assert standing.notified(2, True, "") == (Close(StandIn(1, V1), lingers=True), Answer(True, ""))
    assert standing.stand_ins == (StandIn(2, (DRA_V1BETA1, *BOTH)),)


def test_a_refused_one_leaves_the_old_where_it_is_and_the_driver_is_told_why() -> None:
    standing = registered()
    standing.serves((DRA_V1BETA1,))
    assert standing.notified(2, False, "no such service") == (Answer(False, "no such service"),)
    assert standing.stand_ins == (StandIn(1, V1), StandIn(2, (DRA_V1BETA1, *BOTH)))


def test_a_refused_one_that_the_kubelet_takes_after_all_counts() -> None:
    standing = Standing()
    standing.serves((DRA_V1,))
    standing.notified(1, False, "busy")
    assert standing.notified(1, True, "") == (Answer(True, ""),)


def test_versions_that_return_to_what_is_registered_take_the_offer_back() -> None:
    standing = registered()
    standing.serves((DRA_V1BETA1,))
    assert standing.serves((DRA_V1,)) == (Close(StandIn(2, (DRA_V1BETA1, *BOTH))),)
    assert standing.notified(2, True, "") == ()


def test_a_driver_away_for_long_is_withdrawn_and_offered_anew_when_it_is_back() -> None:
    standing = registered()
    standing.away(10.0)
    standing.away(40.0)
    assert standing.next_deadline() == 10.0 + WITHDRAW_AFTER
    assert standing.expire(10.0 + WITHDRAW_AFTER) == (Close(StandIn(1, V1)),)
    assert standing.answer is None
    assert standing.serves((DRA_V1,)) == (Open(StandIn(2, V1)),)


def test_a_restarted_kubelet_that_registers_again_is_passed_on() -> None:
    assert registered().notified(1, True, "") == (Answer(True, ""),)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("serves"), st.sampled_from([(DRA_V1,), (DRA_V1BETA1,), (DRA_V1, DRA_V1BETA1)])),
        st.tuples(st.just("away"), st.just(())),
        st.tuples(st.sampled_from(["taken", "refused"]), st.sampled_from(["old", "new", "gone"])),
        st.tuples(st.just("wait"), st.floats(0.0, 60.0)),
    ),
    max_size=30,
)


@given(EVENTS)
def test_whatever_happens_the_registered_stand_in_stays_until_another_is_taken_or_the_driver_is_long_gone(
    events: list[tuple[str, object]],
) -> None:
    standing, now, away_since = Standing(), 0.0, None
    opened: dict[int, StandIn] = {}
    wanted: tuple[str, ...] | None = None

    def apply(effects: tuple[Effect, ...], *, may_close_registered: bool) -> None:
        before = standing_registered
        for effect in effects:
            if isinstance(effect, Open):
                assert effect.stand_in.number not in seen
                seen.add(effect.stand_in.number)
                opened[effect.stand_in.number] = effect.stand_in
            elif isinstance(effect, Close):
                if effect.stand_in == before:
                    assert may_close_registered
                del opened[effect.stand_in.number]

    seen: set[int] = set()
    for what, how in events:
        standing_registered = standing.registered
        if what == "serves":
            assert isinstance(how, tuple)
            apply(standing.serves(how), may_close_registered=False)
            wanted, away_since = offered(how), None
        elif what == "away":
            standing.away(now)
            away_since = now if away_since is None else away_since
        elif what == "wait":
            assert isinstance(how, float)
            now += how
            gone = away_since is not None and now - away_since >= WITHDRAW_AFTER
            apply(standing.expire(now), may_close_registered=gone)
            if gone:
                wanted = None
                assert not opened
        else:
            targets = {"old": standing.registered, "new": standing.newest, "gone": StandIn(999, ())}
            target = targets[str(how)]
            if target is not None:
                apply(standing.notified(target.number, what == "taken", "why"), may_close_registered=what == "taken")
        assert list(opened.values()) == list(standing.stand_ins)
        assert len(opened) <= 2
        if wanted is not None:
            assert wanted in {one.versions for one in opened.values()}


def test_what_another_relay_left_serves_until_one_of_our_own_is_registered() -> None:
    standing = Standing()
    left = standing.inherit(offered((DRA_V1,)), 0.0)
    assert standing.registered == left
    (opened,) = standing.serves((DRA_V1,))
    assert isinstance(opened, Open)
    assert standing.serves((DRA_V1,)) == ()
    assert standing.stand_ins == (left, opened.stand_in)
    assert standing.notified(opened.stand_in.number, True, "") == (Close(left, lingers=True), Answer(True, ""))
    assert standing.serves((DRA_V1,)) == ()


def test_what_another_relay_left_goes_where_the_driver_does_not_come() -> None:
    standing = Standing()
    left = standing.inherit(offered((DRA_V1,)), 5.0)
    assert standing.expire(5.0 + WITHDRAW_AFTER - 0.1) == ()
    assert standing.expire(5.0 + WITHDRAW_AFTER) == (Close(left),)
