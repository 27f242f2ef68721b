"""The page `podvitals describe device` prints. No I/O here."""

from collections.abc import Iterable, Sequence

from podvitals.cli.output import Table, paint, strong, wrapped
from podvitals.cli.pod_page import Reader, to_do
from podvitals.device.health import Health
from podvitals.device.text import clean
from podvitals.errors import InvalidInput, NotFound
from podvitals.fleet.devices import DeviceView

_UNPUBLISHED = "It stands in no ResourceSlice: its driver has withdrawn it, or the kubelet has just wiped the node's slices."


def the_one(devices: Iterable[DeviceView], name: str, missing: Sequence[str] = ()) -> DeviceView:
    """The device `name` means: its whole name or a unique tail of it. InvalidInput says which there are, NotFound what was not read."""
    found = [view for view in devices if view.key.matches(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        unread = "".join(f"; {sentence}" for sentence in missing)
        raise NotFound(f"no device is called {clean(name)!r}: `podvitals get devices` lists them{unread}", status=404)
    some = ", ".join(str(view.key) for view in found[:5]) + (", ..." if len(found) > 5 else "")
    raise InvalidInput(f"{len(found)} devices are called {clean(name)!r}: {some}. Write more of the name")


def device_page(view: DeviceView, missing: Sequence[str], reader: Reader) -> list[str]:
    """The page, line by line. `missing`: what could not be read."""
    health = str(view.health) if view.health else "nobody says"
    since = f"   since {reader.clock(view.since)} ({reader.ago(view.since)})" if view.since is not None else ""
    lines = [
        f"Device {strong(clean(str(view.key)))}" + (f" on {clean(view.node)}" if view.node else ""),
        "",
        f"  Health   {paint(health, view.health or Health.UNKNOWN)}{since}",
    ]
    if view.message:
        lines.append(f"  Why      {wrapped(clean(view.message), reader.width - 11, ' ' * 11)}")
    if view.action:
        lines.append(f"  Do       {wrapped(f'{to_do(view.action, view.node)}.', reader.width - 11, ' ' * 11)}")
    holders = clean(", ".join(view.holders) or "no pod") if view.holders is not None else "cannot be told: the pods may not be read"
    lines.append(f"  Held by  {wrapped(holders, reader.width - 11, ' ' * 11)}")
    if not view.published:
        lines.append(f"  {wrapped(_UNPUBLISHED, reader.width - 2, '  ')}")
    if view.attributes:
        lines += [
            "",
            strong("Attributes"),
            *Table(("NAME", "VALUE"), list(view.attributes.items())).folded(reader.width, indent="  ", header=False),
        ]
    if view.faults:
        rows = [(str(f.health), reader.clock(f.start), reader.clock(f.until) or "now", f.message) for f in view.faults]
        lines += ["", strong("Last faults"), *Table(("HEALTH", "FROM", "TO", "WHY"), rows).folded(reader.width, indent="  ")]
    source = f"{clean(view.speaker)}." + "".join(f" ({clean(sentence)})" for sentence in missing)
    return [*lines, "", f"{strong('Source')}  {wrapped(source, reader.width - 8, ' ' * 8)}"]
