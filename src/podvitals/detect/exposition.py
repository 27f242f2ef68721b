"""Devices and rules in Prometheus' text format: for a file that node_exporter reads, and for a driver that is scraped. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from podvitals.detect.findings import Finding
from podvitals.detect.rules.rule import Class, Rules
from podvitals.device.health import Health
from podvitals.device.text import clean

_PRODUCT = ("productName", "product", "model", "kind", "type", "driver")
_NO_PRODUCT = "pci"
"""The type of a PCI device of which no more is known; its driver tells more."""


def product(finding: Finding) -> str:
    """What a person would call the device: the first attribute that tells."""
    names = {name.rpartition("/")[2]: str(value) for name, value in finding.device.attributes.items()}
    return next((names[name] for name in _PRODUCT if names.get(name, _NO_PRODUCT) not in ("", _NO_PRODUCT)), "")


def exposition(findings: Iterable[Finding], rules: Rules) -> str:
    """How many devices are in which health, what each says, which rules apply, how often each was seen, and how many there are."""
    return "\n".join(_lines(tuple(findings), rules)) + "\n"


def _lines(findings: tuple[Finding, ...], rules: Rules) -> Iterator[str]:
    healths = Counter(one.health for one in findings)
    yield from _head("devices", "gauge", "Devices, by health")
    for health in Health:
        yield _sample("devices", {"health": str(health)}, healths[health])
    yield from _head("device_health", "gauge", "1 for the health a device is in, and what to do")
    for one in findings:
        action = one.verdict.action if one.verdict is not None else ""
        yield _sample("device_health", {"device": one.device.name, "product": product(one), "health": str(one.health), "action": action}, 1)
    yield from _head("rule_applies", "gauge", "1 for each rule that speaks of a device now")
    for one in findings:
        for name in one.rules:
            yield _sample("rule_applies", {"device": one.device.name} | _rule(rules, name), 1)
    seen: Counter[str] = Counter()
    for one in findings:
        seen.update(one.counts)
    yield from _head("rule_seen_total", "counter", "How often what a rule is about was seen, programs' own faults included")
    for name in sorted(seen.keys() & rules.rules.keys()):
        yield _sample("rule_seen_total", _rule(rules, name), seen[name])
    classes = Counter(rule.verdict for rule in rules)
    yield from _head("rules", "gauge", "Rules, by class")
    for verdict in Class:
        yield _sample("rules", {"class": str(verdict)}, classes[verdict])


def _rule(rules: Rules, name: str) -> dict[str, str]:
    rule = rules.rules[name]
    return {"rule": name, "class": str(rule.verdict), "action": rule.action}


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP podvitals_detect_{name} {text}"
    yield f"# TYPE podvitals_detect_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: int) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"podvitals_detect_{name}{{{shown}}} {value}"


def _escaped(text: str) -> str:
    """As the format asks; what a device calls itself may hold anything, and a person may look at it on a terminal."""
    return clean(text).replace("\\", "\\\\").replace('"', '\\"')
