"""`podvitals inject`: simulated devices broken and mended by hand."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from podvitals.cli.inject import command
from podvitals.detect.sim import parse_state
from podvitals.device.health import Health
from podvitals.errors import InvalidInput, LocalError, PodvitalsError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("gpu-0", "gpu-1"):
        (tmp_path / name).write_text("Healthy\n")
    return tmp_path


def inject(directory: Path | None, *arguments: str) -> str:
    env = {"PODVITALS_SIM_DIR": str(directory) if directory is not None else None}
    return CliRunner().invoke(command, list(arguments), env=env, catch_exceptions=False).output


def test_a_device_is_broken_with_text_and_action_and_mended(directory: Path) -> None:
    said = inject(directory, "gpu-0", "Unhealthy: Xid 79: GPU has fallen off the bus", "--action", "power-cycle")
    assert said == "gpu-0 is now Unhealthy: Xid 79: GPU has fallen off the bus\n"
    reading = parse_state((directory / "gpu-0").read_text())
    assert (reading.health, reading.message, reading.action) == (Health.UNHEALTHY, "Xid 79: GPU has fallen off the bus", "power-cycle")
    assert inject(directory, "gpu-0", "--clear") == "gpu-0 is now Healthy\n"
    assert (directory / "gpu-0").read_text() == "Healthy\n"
    assert sorted(path.name for path in directory.iterdir()) == ["gpu-0", "gpu-1"]


def test_a_whole_key_and_a_directory_by_flag_do_as_well(directory: Path) -> None:
    inject(None, "gpu.example.com/node-1/gpu-1", "unknown: cannot tell", "--dir", str(directory))
    assert (directory / "gpu-1").read_text() == "Unknown: cannot tell\n"


def test_a_reader_sees_the_old_state_or_the_new_one(directory: Path) -> None:
    with (directory / "gpu-0").open() as reader:
        inject(directory, "gpu-0", "Unhealthy: x")
        assert reader.read() == "Healthy\n", "the file was written in place"


@pytest.mark.parametrize(
    ("arguments", "kind", "why"),
    [
        (("gpu-9", "Healthy"), InvalidInput, "no simulated device 'gpu-9' in"),
        (("..", "Healthy"), InvalidInput, "no simulated device"),
        (("gpu-0", "Sick"), InvalidInput, "'Sick' is not a health: write Healthy, Unhealthy: text or Unknown: text"),
        (("gpu-0",), InvalidInput, "say what the device shall be"),
        (("gpu-0", "Healthy", "--clear"), InvalidInput, "not both"),
        (("gpu-0", "Unhealthy: x", "--action", "explode"), InvalidInput, "action 'explode' is none of"),
        (("gpu-0", "Healthy", "--dir", "/nonexistent"), LocalError, "/nonexistent is not a directory"),
    ],
)
def test_wrong_input_says_what_would_be_right(directory: Path, arguments: tuple[str, ...], kind: type[PodvitalsError], why: str) -> None:
    with pytest.raises(kind) as raised:
        inject(directory, *arguments)
    assert why in str(raised.value)


def test_without_a_directory_it_says_where_one_comes_from() -> None:
    with pytest.raises(InvalidInput, match="set PODVITALS_SIM_DIR"):
        inject(None, "gpu-0", "--clear")
