"""Writes docs/detectors.md from the families and rules podvitals comes with: `make docs`."""

from collections.abc import Iterator
from pathlib import Path

from podvitals.detect.damping import STEPS, Damping, Step, Trend
from podvitals.detect.rules.describe import duration, ending, matching, meaning
from podvitals.detect.rules.load import builtin
from podvitals.detect.rules.rule import Rule
from podvitals.detect.spec import FAMILIES, family_of

PAGE = Path(__file__).with_name("detectors.md")

ABOUT = """# Detectors: what podvitals reads, and what it means

<!-- Written by docs/detectors.py from the families and their rules: change those, then `make docs`. -->

A **family** reads hardware and gives signals; a **rule** says what a signal means, what a person should do, and how it ends. Every rule is
data (`src/podvitals/detect/rules/*.toml`), and an operator's file may change any of it.

```
podvitals check                         # this machine's devices, no Kubernetes needed; exit code 0, 1 or 2
podvitals detectors                     # the families, and which can run here
podvitals driver gpu.example.com --detector nvidia --rules ours.toml
```

Three rules hold for all of them:

1. A probe that fails is not a device that fails: the device is Unknown, with the probe's error.
2. `checked_at` is when the hardware was last read. Only a fresh reading renews a lease.
3. Recovery is judged, not assumed: each rule says how it ends.

## What a class means

| class | the device is | |
|---|---|---|
| healthy | Healthy | the rule says nothing; it may end others |
| application | Healthy | a program's fault: counted, and repeats may escalate |
| degraded | Healthy, with a message | |
| unknown | Unknown | |
| fatal | Unhealthy | |

The worst counts, and the message holds every reason, the worst first. Of several that are equally bad, the action is that which does what
the others ask for, too: restart-app < reset-gpu < reboot < power-cycle < service. What needs a **reset** or a **reboot** stays until one
was seen, over restarts of the driver too; what needs a **service** also stays over a reboot, until the device's serial number changes, or
somebody says that it was done: `touch /var/lib/kubelet/plugins/<driver>/serviced/<device>`.
"""

DAMPING = """
## Damping

Getting worse is shown at once. Getting better is shown when enough changes are left for it to get worse again: no device changes more than
{changes} times in {window}. What comes and goes is shown at its worst meanwhile, with one text for both.

| the evidence is | it has lasted | changes are left | what is shown |
|---|---|---|---|
{steps}

## Rules of your own

Copy a rule (`podvitals rules show xid.48`), change it, and try it on what really happened before it decides over pods:

```
podvitals check --watch --record gpu-07.jsonl --anonymise      # serial numbers, addresses and names of programs are left out
podvitals rules test ours.toml --replay gpu-07.jsonl           # what your rules would have changed; mistakes with line and column
podvitals rules explain xid 63
podvitals rules explain 'NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.'      # a line out of dmesg, as it is
```

```toml
[xid.48]                        # known: only the fields given here change
class = "degraded"

[xid.4711]                      # new
match = {{ table = "xid", code = "4711" }}
class = "fatal"
action = "reset-gpu"
message = "Xid {{code}}: ours[ (PCI {{pci}})]"
needs = "reset"

[lines.brownout]                # a line of the kernel log, and the code it is: table "kmsg" and the line's name, where it says no other
has = "brownout"                # every such line contains it; looked for first
pattern = 'ourcard (?P<pci>[0-9a-f:.]+): brownout (?P<level>[0-9]+)'

[ours.brownout]                 # and what that means
match = {{ table = "kmsg", code = "brownout" }}
class = "degraded"
message = "brownout of level {{level}}[ (PCI {{pci}})]"
expires = "1h"

[damping]                       # how often a device may change: these are podvitals' own
changes = {changes}
window = "{window}"
```

| field | |
|---|---|
| `match` | `{{ table, code, where }}` something said once · `{{ counter, grew, within }}` growth, or a rate · `{{ state, is, is_not, became }}` · `{{ level, above, below, at_least }}` against a number or another level |
| `class`, `action` | as above; one of restart-app, reset-gpu, reboot, power-cycle, service |
| `message` | `{{...}}` is filled in from the signal and the device's attributes; `[...]` is left out where something in it is not known |
| `clears`, `needs`, `expires` | how it ends: with the signal (or its pair) · at a reset, reboot or service · after a quiet time. One of them |
| `cancels` | the rules that this one ends |
| `escalate` | `{{ at, within, class, action, message }}` for repeats on one device |
| `lasting`, `hold`, `fresh` | how long it must last before it counts · how long it is held after it ended · how old it may be |
| `per` | the param of a code that tells parts of the device apart, such as `link`: each is judged by itself |
| `yields_to` | a state that knows better: while it is known, this rule says degraded at most |

| field of a line | |
|---|---|
| `has` | words that every such line contains |
| `pattern` | a regular expression (Python's), searched in the line; its groups are what messages and `where` may name. The group `pci`, `block`, `ifname`, `nvme` or `neuron` names the device (`driver`: all that it drives); without one the record's own DEVICE= key does |
| `table`, `code` | the code it is; `{{group}}` is filled in. The table `life` with the code reset, reboot or service says what became of the device |

`podvitals rules list --lines` lists the lines that are known, `podvitals rules show lines.xid` shows one. A recording has every line of the
kernel log that names one of the devices, and only those, so that other patterns can be tried on it.

## Which rules spoke, and how often

`podvitals driver ... --listen 127.0.0.1:9472` answers `/metrics`, `/state` (what `podvitals check -o json` prints), `/healthz` and `/readyz`.
`podvitals check -o prometheus` prints the same once, for node_exporter's textfiles ([slurm.md](slurm.md)).

| metric | |
|---|---|
| `podvitals_detect_devices{{health}}` | devices in each health |
| `podvitals_detect_device_health{{device, product, health, action}}` | 1 for the health a device is in, and what to do |
| `podvitals_detect_rule_applies{{device, rule, class, action}}` | 1 for each rule that speaks of a device now |
| `podvitals_detect_rule_seen_total{{rule, class, action}}` | how often what a rule is about was seen: programs' own faults (class application), which are no verdict, too |
| `podvitals_detect_rules{{class}}` | rules of each class |
"""  # noqa: E501 - rows of a table


def page() -> str:
    damping = Damping()
    parts = [
        ABOUT,
        *_families(),
        DAMPING.format(changes=damping.changes, window=duration(damping.window), steps="\n".join(_steps())),
        *_rules(),
    ]
    return "\n".join(part.rstrip() for part in parts) + "\n"


def _steps() -> Iterator[str]:
    """The table by which damping.py works; rows that do not depend on what lasted or is left are one."""
    shown = {
        Step.SHOW: "the evidence",
        Step.HOLD: "what was shown before, until it has lasted",
        Step.KEEP: "what was shown before, as coming and going",
    }
    for trend in Trend:
        steps = {(lasted, left): step for (one, lasted, left), step in STEPS.items() if one is trend}
        if len(set(steps.values())) == 1:
            yield f"| {trend.name.lower()} | | | {shown[steps[True, True]]} |"
        else:
            yield from (
                f"| {trend.name.lower()} | {_yes(lasted)} | {_yes(left)} | {shown[step]} |" for (lasted, left), step in steps.items()
            )


def _yes(so: bool) -> str:
    return "yes" if so else "no"


def _families() -> Iterator[str]:
    yield "\n## Families\n\n| family | devices | needs |\n|---|---|---|"
    for name in FAMILIES:
        if (family := family_of(name)) is not None:
            yield f"| `{name}` | {_cell(family.about)} | {_cell(family.needs)} |"


def _rules() -> Iterator[str]:
    rules = builtin()
    yield "\n## All rules"
    for family in dict.fromkeys(rule.family for rule in rules):
        yield f"\n### {family}\n\n{rules.about.get(family, family)}.\n"
        yield "\n| rule | when | means | do | ends | says |\n|---|---|---|---|---|---|"
        yield from (_row(rule) for rule in rules if rule.family == family)


def _row(rule: Rule) -> str:
    name = f"[{rule.id}]({rule.source})" if rule.source else rule.id
    says = _cell(rule.message) + (f"<br>({_cell(rule.note)})" if rule.note else "")
    return f"| {name} | {_cell(matching(rule))} | {_cell(meaning(rule))} | {rule.action} | {_cell(ending(rule))} | {says} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
