"""The lab's directory: private, one lab at a time, and nobody else's files."""

import os
from pathlib import Path

import pytest

from podvitals.errors import InvalidInput, LocalError
from podvitals.lab.layout import LONGEST_ROOT, furnish, hold
from tests.lab.places import place

__all__ = ["place"]


def test_a_fresh_directory_is_private_and_goes_as_it_came(place: Path) -> None:
    held = hold(place / "lab")
    furnish(held)
    assert (place / "lab").stat().st_mode & 0o777 == 0o700
    (held.layout.pods / "x").mkdir()
    held.remove()
    held.release()
    assert list(place.iterdir()) == []


def test_an_empty_directory_of_the_user_is_used_and_left(place: Path) -> None:
    held = hold(place)
    furnish(held)
    held.remove()
    assert list(place.iterdir()) == []


def test_what_a_dead_lab_left_is_taken_over(place: Path) -> None:
    furnish(hold_and_die(place / "lab"))
    held = hold(place / "lab")
    held.empty()
    assert {entry.name for entry in held.layout.root.iterdir()} == {"lock"}
    held.remove()


def hold_and_die(root: Path):  # type: ignore[no-untyped-def]
    held = hold(root)
    held.release()
    return held


def test_a_second_lab_in_the_same_directory_is_refused(place: Path) -> None:
    held = hold(place / "lab")
    with pytest.raises(LocalError, match=r"a lab runs in .* already.*stop it with Ctrl-C there"):
        hold(place / "lab")
    held.release()
    hold(place / "lab").release()


def test_a_directory_with_other_files_is_refused_and_left_alone(place: Path) -> None:
    (place / "thesis.tex").write_text("years of work")
    with pytest.raises(LocalError, match=r"holds files that are no lab's: give an empty directory"):
        hold(place)
    assert (place / "thesis.tex").read_text() == "years of work"


def test_a_directory_open_to_others_is_refused(place: Path) -> None:
    place.chmod(0o755)
    with pytest.raises(LocalError, match="is open to other users: chmod 700"):
        hold(place)


def test_a_file_or_a_link_in_its_place_is_refused(place: Path) -> None:
    (place / "file").write_text("")
    (place / "link").symlink_to(place)
    for name in ("file", "link"):
        with pytest.raises(LocalError, match="is not a directory"):
            hold(place / name)


def test_a_directory_of_another_user_is_refused() -> None:
    if os.geteuid() == 0:
        root = Path("/tmp/pv-foreign")
        root.mkdir(mode=0o700, exist_ok=True)
        try:
            os.chown(root, 12345, 12345)
            with pytest.raises(LocalError, match="belongs to another user"):
                hold(root)
        finally:
            root.rmdir()
    else:
        with pytest.raises(LocalError, match="belongs to another user"):
            hold(Path("/usr"))


def test_a_path_too_long_for_sockets_is_refused_with_the_limit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"at most {LONGEST_ROOT} bytes"):
        hold(tmp_path / ("x" * 60))


@pytest.mark.parametrize("name", ["a b", "a,b", "a*", "lab\n"])
def test_a_name_that_a_detector_could_not_be_told_is_refused(place: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="use letters, digits"):
        hold(place / name)


def test_a_directory_that_cannot_be_made_says_why(place: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot make the lab's directory .*No such file"):
        hold(place / "no" / "lab")
