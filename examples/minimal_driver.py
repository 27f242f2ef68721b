"""A whole DRA driver: each file in a directory is a device, healthy as long as it is there and says nothing else.

python examples/minimal_driver.py --help    TOYS=/run/toys python examples/minimal_driver.py --kubeconfig admin.kubeconfig
"""

import os
from collections.abc import Iterable
from pathlib import Path

from podvitals import Detector, Device, Driver, Reading


class Toys(Detector):
    interval, timeout = 1.0, 0.5  # seconds; a reading is believed for 3 × interval

    def __init__(self, root: Path) -> None:
        self.root = root

    def devices(self) -> Iterable[Device]:
        for path in self.root.iterdir():
            yield Device(path.name, attributes={"model": "T1"}, handle=str(path))

    def check(self, device: Device) -> Reading:
        text = Path(device.handle).read_text().strip()  # an exception is Unknown, with its text
        return Reading.unhealthy(text, action="power-cycle") if text else Reading.healthy()


if __name__ == "__main__":
    Driver("toy.example.com", Toys(Path(os.environ.get("TOYS", "/run/toys")))).main()
