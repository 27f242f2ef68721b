"""Which sockets are followed where there are more than can be: who is a driver stays, the others take turns, floods wait."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from podvitals.node.choice import A_SECOND, FIRST_TOGETHER, TRIAL, Choice, Socket

MOST = 4


def socket(name: str, born: int = 0) -> Socket:
    return Socket(name, (1, born, born), born)


class Directory:
    def __init__(self, most: int = MOST) -> None:
        self.choice, self.most = Choice(most), most
        self.there: list[Socket] = []
        self.followed: dict[str, Socket] = {}
        self.drivers: set[str] = set()
        self.now = 0.0

    def scan(self, seconds: float = 1.0) -> list[str]:
        self.now += seconds
        for path in set(self.followed) - {one.path for one in self.there}:
            del self.followed[path]
        is_driver: Callable[[Socket], bool] = lambda one: one.path in self.drivers  # noqa: E731
        take, give_up = self.choice.choose(self.there, self.followed, is_driver, self.now)
        for one in give_up:
            del self.followed[one.path]
        self.followed.update((one.path, one) for one in take)
        return [one.path for one in take]


def test_no_number_of_sockets_pushes_out_a_driver() -> None:
    node = Directory()
    node.there = [socket("gpu", 1), socket("nic", 2)]
    node.scan()
    node.drivers = {"gpu", "nic"}
    for turn in range(50):
        node.there = node.there[:2] + [socket(f"junk-{turn}-{number}", 10 + turn) for number in range(100)]
        node.scan()
        assert {"gpu", "nic"} <= set(node.followed)
        assert len(node.followed) <= MOST


def test_a_driver_that_comes_to_a_full_directory_gets_its_turn() -> None:
    node = Directory()
    node.there = [socket(f"junk-{number}", number) for number in range(10)]
    node.scan()
    node.there.append(socket("gpu", 99))
    turns = 0
    while "gpu" not in node.followed:
        node.scan(TRIAL)
        turns += 1
        assert turns <= 3
    node.drivers = {"gpu"}
    for _ in range(9):
        node.scan(TRIAL)
        assert "gpu" in node.followed


def test_a_driver_that_restarts_comes_before_the_rubbish() -> None:
    node = Directory()
    node.there = [socket("gpu", 1)]
    node.scan()
    node.drivers = {"gpu"}
    node.scan()
    node.there = [socket(f"junk-{number}", 2) for number in range(100)]
    node.scan()
    assert "gpu" not in node.followed
    node.there.append(socket("gpu", 3))
    node.drivers = set()
    assert "gpu" in node.scan(TRIAL)


def test_what_is_made_and_removed_a_thousand_times_a_second_is_followed_slowly() -> None:
    node = Directory(most=10_000)
    taken = 0
    for turn in range(1000):
        node.there = [socket(f"flood-{turn}-{number}", 10 + turn) for number in range(100)]
        taken += len(node.scan(0.02))
    assert taken <= FIRST_TOGETHER + 20 * A_SECOND + 1
    node.there.append(socket("gpu", 5))
    assert node.scan(1.0)[0] == "gpu", "made before what is there now"


NAMES = st.sets(st.sampled_from([f"s{number}" for number in range(9)]))


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from([0.02, 1.0, TRIAL])), max_size=30))
def test_places_are_never_exceeded_and_drivers_never_given_up(scans: list[tuple[set[str], set[str], float]]) -> None:
    node = Directory()
    for there, drivers, seconds in scans:
        node.there = [socket(name) for name in sorted(there)]
        node.drivers = drivers
        kept = set(node.followed) & there & drivers
        node.scan(seconds)
        assert kept <= set(node.followed) <= there
        assert len(node.followed) <= MOST
        assert len(node.followed) + node.choice.waiting == len(there)


def test_of_sockets_made_in_one_tick_of_the_clock_the_inode_tells_which_is_newer() -> None:
    older, newer = Socket("/z-old", (1, 7, 5), 5), Socket("/a-new", (1, 8, 5), 5)
    take, _ = Choice(MOST).choose([newer, older], {}, lambda _: False, 0.0)
    assert take == [older, newer]
