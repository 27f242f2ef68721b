"""CDI edits as far as a process of this machine can have them."""

from pathlib import Path

import pytest

from podvitals.lab.kubelet.cdi import Edits, Unresolvable, edits
from podvitals.lab.kubelet.specs import read

SPEC = {
    "cdiVersion": "0.5.0",
    "kind": "gpu.example.com/claim",
    "containerEdits": {"env": ["ALL=1"]},
    "devices": [
        {"name": "a", "containerEdits": {"env": ["DEV=a", "URL=x=y"], "deviceNodes": [{"path": "/dev/gpu0"}]}},
        {
            "name": "b",
            "containerEdits": {"env": ["DEV=b"], "mounts": [{"containerPath": "/lib/x"}], "hooks": [{"hookName": "createContainer"}]},
        },
    ],
}


def test_environment_is_taken_from_the_spec_once_and_from_each_device() -> None:
    assert edits([SPEC], ["gpu.example.com/claim=a"]) == Edits((("ALL", "1"), ("DEV", "a"), ("URL", "x=y")), ("device node /dev/gpu0",))


def test_what_a_process_cannot_have_is_noted() -> None:
    assert edits([SPEC], ["gpu.example.com/claim=a", "gpu.example.com/claim=b"]).notes == (
        "device node /dev/gpu0",
        "mount /lib/x",
        "hook createContainer",
    )


def test_an_id_no_file_explains_is_named() -> None:
    with pytest.raises(Unresolvable, match=r"unresolvable CDI devices gpu\.example\.com/claim=zz"):
        edits([SPEC], ["gpu.example.com/claim=a", "gpu.example.com/claim=zz"])


def test_a_hostile_spec_is_not_an_exception() -> None:
    odd = {"kind": 3, "devices": [1, {"name": "a", "containerEdits": []}], "containerEdits": "x"}
    assert edits([odd], ["3=a"]) == Edits()


def test_files_are_read_as_json_and_yaml_and_bad_ones_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_text('{"kind": "a/b"}')
    (tmp_path / "b.yaml").write_text("kind: c/d\n")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.yml").write_text("- 1\n")
    (tmp_path / ".hidden.json").write_text('{"kind": "no"}')
    (tmp_path / "notes.txt").write_text("x")
    assert [spec["kind"] for spec in read(tmp_path)] == ["a/b", "c/d"]
    assert "broken.json is left out" in caplog.text
    assert "list.yml is left out" in caplog.text
