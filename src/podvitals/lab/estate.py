"""What a lab puts on this machine, from the first moment to the last: its directory, its device, its port, its processes.

Every thing is written to the run file before it is made, and `close` takes all of it away again, whatever had been reached. Nothing here
imports aiohttp or protobuf: the children must be on their way before the lab itself imports them."""

import errno
import json
import os
import secrets
import shlex
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from podvitals.errors import LocalError
from podvitals.lab import faults, layout, netlink, runfile
from podvitals.lab.children import Child, ChildSpec, stop_all
from podvitals.lab.faults import Breakable, DeviceFile, Veth
from podvitals.lab.layout import Held

NODE = "lab"
BREAKABLE_DRIVER = "lab.podvitals.dev"
GPU_DRIVER = "gpu.podvitals.dev"
GPUS = 8
HOST = "127.0.0.1"


def process_began() -> float:
    """When this process started, seconds since boot (to 10 ms): before Python was up."""
    ticks = runfile.process("lab", os.getpid()).started
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class EstateSettings:
    """`port` 0: any that is free. `device`: auto takes a network link where one can be made."""

    root: Path
    port: int = 0
    device: faults.Choice = "auto"


@dataclass(slots=True)
class Estate:
    """`open` it before the event loop runs; `close` it in any case."""

    settings: EstateSettings
    cleaned: list[str] = field(default_factory=list)
    """What a lab that died had left, and this one removed."""
    why_file: str = ""
    """Why the device is a file although a link was preferred."""
    children: list[Child] = field(default_factory=list)
    _held: Held | None = None
    _run: runfile.Run | None = None
    _device: Breakable | None = None
    _sock: socket.socket | None = None
    _one_note: threading.Lock = field(default_factory=threading.Lock)
    prefix: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    def open(self) -> None:
        self._held = layout.hold(self.settings.root)
        self._clean_leftovers()
        self._run = runfile.new_run()
        self._run.made_root = self._held.made
        runfile.write(self.layout.run_file, self._run)
        layout.furnish(self._held)
        for number in range(GPUS):
            (self.layout.sim / f"gpu-{number}").write_text("Healthy\n")
        self._device = self._make_device()
        self._sock = self._listen()
        self._write_kubeconfig()
        self._spawn()

    @property
    def layout(self) -> layout.Layout:
        assert self._held is not None
        return self._held.layout

    @property
    def device(self) -> Breakable:
        assert self._device is not None
        return self._device

    @property
    def sock(self) -> socket.socket:
        assert self._sock is not None
        return self._sock

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.sock.getsockname()[1]}/{self.prefix}"

    @property
    def environment(self) -> dict[str, str]:
        """The mark that every process of this run carries."""
        assert self._run is not None
        return {runfile.MARK: self._run.id}

    def note_children(self) -> None:
        """Writes the children's present numbers into the run file. Blocks."""
        assert self._run is not None
        with self._one_note:  # children that end together are noted by several threads
            self._run.children = [runfile.process(child.spec.name, child.process.pid) for child in self.children]
            runfile.write(self.layout.run_file, self._run)

    def close(self) -> None:
        """Ends and removes everything, in the reverse order. Blocks for at most a few seconds; never raises for what is gone already."""
        stop_all(self.children)
        self.children = []
        if self._run is not None:
            runfile.sweep(self._run.id)
        if self._sock is not None:
            self._sock.close()
        if self._device is not None:
            self._device.remove()
        if self._held is not None:
            self._held.remove()
            self._held.release()
            self._held = None

    def _clean_leftovers(self) -> None:
        assert self._held is not None
        before = runfile.read(self.layout.run_file)
        if before is not None:
            self.cleaned = runfile.clean_up(before)
            self._held.made = self._held.made or before.made_root
        self._held.empty()

    def _make_device(self) -> Breakable:
        if self.settings.device != "file" and (veth := self._make_veth()) is not None:
            return veth
        accelerator = DeviceFile(self.layout.devices / "accel0")
        accelerator.make()
        return accelerator

    def _make_veth(self) -> Veth | None:
        """None where this machine or user cannot make one and a file will do."""
        for name in faults.free_links():
            veth = Veth(name, self._note_veth(name).alias)
            try:
                veth.make()
            except netlink.NetlinkRefused as refusal:
                if refusal.errno == errno.EEXIST:  # another lab was faster
                    continue
                self._note_veth(None)
                if self.settings.device == "veth" or not faults.impossible(refusal):
                    raise LocalError(f"{refusal}; run as root, or use --device file") from None
                self.why_file = str(refusal)
                return None
            return veth
        raise LocalError(f"interfaces {faults.LINKS[0]} to {faults.LINKS[-1]} all exist on this machine: remove one, or use --device file")

    def _note_veth(self, name: str | None) -> runfile.Run:
        assert self._run is not None
        self._run.veth = name
        runfile.write(self.layout.run_file, self._run)
        return self._run

    def _listen(self) -> socket.socket:
        """Listening at once: a child that connects before the server answers waits, and need not try again."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, self.settings.port))
            sock.listen(128)
        except OSError as error:
            sock.close()
            raise LocalError(
                f"port {self.settings.port} of {HOST} cannot be used: {error.strerror}; give another with --port, or none"
            ) from None
        sock.setblocking(False)
        return sock

    def _write_kubeconfig(self) -> None:
        """JSON is YAML; readable by its owner only, for the secret path is the only key to the lab."""
        entry = {"name": "lab"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [entry | {"cluster": {"server": self.url}}],
            "users": [entry | {"user": {}}],
            "contexts": [entry | {"context": {"cluster": "lab", "user": "lab", "namespace": "default"}}],
            "current-context": "lab",
        }
        with open(os.open(self.layout.kubeconfig, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(json.dumps(config, indent=2) + "\n")

    def _spawn(self) -> None:
        where = self.layout
        common = ["--node-name", NODE, "--kubeconfig", str(where.kubeconfig), "--plugin-dir", str(where.plugins_registry)]
        driver = [*common, "--cdi-dir", str(where.cdi)]
        words = {
            f"driver {BREAKABLE_DRIVER}": ["driver", BREAKABLE_DRIVER, "--detector", self.device.detector, *driver],
            "agent": ["agent", *common, "--state-dir", str(where.agent)],
            f"driver {GPU_DRIVER}": ["driver", GPU_DRIVER, "--detector", f"sim:{where.sim},model=PV-100,memory=80Gi", *driver],
        }
        env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"} | self.environment
        for name, line in words.items():
            self.children.append(Child(ChildSpec(name, line, where.logs / f"{name.replace(' ', '-')}.log"), env))
        self.note_children()

    def shell_line(self) -> str:
        """What makes another terminal speak to this lab."""
        places = {
            "KUBECONFIG": self.layout.kubeconfig,
            "PODVITALS_SIM_DIR": self.layout.sim,
            "PODVITALS_AGENT_SOCKETS": self.layout.agent / "agent.sock",
        }
        names = " ".join(f"{name}={shlex.quote(str(path))}" for name, path in places.items())
        return f"export {names} PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
