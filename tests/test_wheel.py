"""What is installed from the wheel is whole: it carries its data, and the lab tells its story from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "flit_core.wheel", "--outdir", str(target), str(ROOT)], check=True, capture_output=True)
    (built,) = target.glob("podvitals-*.whl")
    return built


def test_the_wheel_carries_every_file_of_the_package_its_licence_and_its_commands(wheel: Path) -> None:
    package = ROOT / "src" / "podvitals"
    expected = {str(path.relative_to(package.parent)) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (commands,) = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    assert "podvitals/py.typed" in expected
    assert expected <= names
    assert any(name.endswith("LICENSE") for name in names)
    assert "podvitals=" in commands
    assert "kubectl-vitals=" in commands


def test_the_lab_tells_its_story_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    lab = Path("/tmp") / f"pvw-{os.getpid()}"  # Unix sockets: a path of pytest's own would be too long
    outcome = subprocess.run(
        [sys.executable, "-m", "podvitals", "lab", "--once", "--dir", str(lab)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "EXPLAINS THE CRASHES" in outcome.stdout
    assert not lab.exists()
