"""Detectors as an operator names them."""

from pathlib import Path

import pytest

from podvitals.detect.family import Family
from podvitals.detect.files import Files, name_of
from podvitals.detect.net import Net
from podvitals.detect.roots import Roots
from podvitals.detect.rules.rule import Rules
from podvitals.detect.sim import Sim
from podvitals.detect.spec import FAMILIES, Equipment, family_of, parse
from podvitals.errors import InvalidInput


def test_each_family_is_made_from_its_spec_with_its_times() -> None:
    sim = parse("sim:/run/sim,model=T1,memory=80Gi,interval=1,timeout=0.5,lease=9")
    assert isinstance(sim, Sim)
    assert (sim.directory, sim.interval, sim.timeout, sim.lease_seconds) == (Path("/run/sim"), 1.0, 0.5, 9.0)
    files, net = parse("files:/dev/accel*,/dev/by-id/a=b"), parse("net:eth*,bond0")
    assert isinstance(files, Files)
    assert files.patterns == ("/dev/accel*", "/dev/by-id/a=b")
    assert isinstance(net, Net)
    assert net.patterns == ("eth*", "bond0")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("gpu:x", "'gpu' is no family: write one of nvidia, pcie, kmsg, "),
        ("nvidea", "'nvidea' is no family (did you mean nvidia?)"),
        ("sim", "sim takes one directory"),
        ("sim:", "sim takes one directory"),
        ("sim:/a,/b", "sim takes one directory"),
        ("sim:/a,colour=red", "sim has no option 'colour'; it has model, memory, interval, timeout, lease"),
        ("sim:/a,interval=often", "interval='often' is not a number of seconds between 0 and a day"),
        ("sim:/a,interval=-1", "is not a number of seconds"),
        ("sim:/a,interval=nan", "is not a number of seconds"),
        ("sim:/a,interval=60,lease=20", "its lease of 20 s ends before its next check"),
        ("sim:/a,interval=1,lease=1", "leaves no time for a check each 1 s to be late: make it 1.5 × interval at least"),
        ("files:", "files takes paths or patterns"),
        ("files:dev/accel0", "'dev/accel0' is not an absolute path"),
        ("net:", "net takes names or patterns"),
        ("net:averyverylongname0", "too long for an interface"),
    ],
)
def test_a_wrong_spec_is_refused_and_quoted(spec: str, why: str) -> None:
    with pytest.raises(InvalidInput, match="detector") as raised:
        parse(spec)
    assert why in str(raised.value)
    assert spec in str(raised.value) or "lease" in spec


def test_a_file_of_a_bare_number_takes_its_directory_along() -> None:
    assert [name_of(Path(path)) for path in ("/dev/accel0", "/dev/vfio/12", "/dev/nvidia-caps/nvidia-cap1")] == [
        "accel0",
        "vfio-12",
        "nvidia-cap1",
    ]


def test_a_family_of_hardware_is_given_its_equipment(tmp_path: Path) -> None:
    rules = Rules()
    pcie = parse("pcie", Equipment(Roots.under(tmp_path), rules))
    assert isinstance(pcie, Family)
    assert pcie.roots.sys == tmp_path / "sys"
    assert pcie.rules is rules
    assert isinstance(parse("sim:/run/sim", Equipment(Roots.under(tmp_path))), Sim)


def test_each_family_of_hardware_says_what_it_is_and_what_it_needs() -> None:
    families = [family for name in FAMILIES if (family := family_of(name)) is not None]
    assert families
    for family in families:
        assert FAMILIES[family.family]
        assert family.about
        assert family.needs
        assert isinstance(family.available(Roots()), str)
