"""Small files of sysfs."""

from pathlib import Path

import pytest

from podvitals.detect.families import sysfs


def test_values_of_sysfs_are_read_without_their_newline_and_a_missing_one_is_told_from_an_unreadable(tmp_path: Path) -> None:
    (tmp_path / "width").write_text("16\n")
    (tmp_path / "vendor").write_text("0x10de\n")
    (tmp_path / "state").write_text("live\n")
    assert sysfs.number(tmp_path / "width") == 16
    assert sysfs.number(tmp_path / "vendor") == 0x10DE
    assert sysfs.text(tmp_path / "state") == "live"
    assert sysfs.entries_if_any(tmp_path / "nothing") == []
    with pytest.raises(ValueError, match="it says 'live', which is no number"):
        sysfs.number(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        sysfs.number(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        sysfs.number(tmp_path)
