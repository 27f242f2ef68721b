"""Rules in words, and as the TOML they were written in. Pure."""

import json

from podvitals.detect.rules.line import Line
from podvitals.detect.rules.rule import ANY, Class, CodeMatch, GrowthMatch, LevelMatch, Rule, StateMatch
from podvitals.detect.rules.words import number

_NEEDS = {"reset": "when the device was reset", "reboot": "when the node was rebooted", "service": "when the device was serviced"}
_MEANS = {
    Class.HEALTHY: "nothing",
    Class.APPLICATION: "a program's fault: no verdict, it is counted",
    Class.DEGRADED: "degraded: Healthy, with the message",
    Class.UNKNOWN: "Unknown",
    Class.FATAL: "Unhealthy",
}


def duration(seconds: float) -> str:
    """As rules write it: 10min, 24h."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= length and seconds % length == 0 and not (unit == "d" and seconds == 86400.0):
            return f"{number(seconds / length)}{unit}"
    return f"{number(seconds)}s"


def matching(rule: Rule) -> str:
    match rule.match:
        case CodeMatch(table=table, codes=codes, where=where):
            details = "".join(f", {name} {' or '.join(values)}" for name, values in where)
            return f"{table} {'any other' if codes == (ANY,) else _either(codes)}{details}"
        case GrowthMatch(counter=counter, grew=grew, within=within):
            return f"{counter} grew by {grew} or more{f' within {duration(within)}' if within else ''}"
        case StateMatch(state=state, values=values, became=True):
            return f"{state} became {_either(values)}"
        case StateMatch(state=state, values=values, differs=True):
            return f"{state} is {'neither' if len(values) > 1 else 'not'} {_either(values, 'nor')}"
        case StateMatch(state=state, values=values):
            return f"{state} is {_either(values)}"
        case LevelMatch(level=level, than=than, above=above, or_equal=or_equal):
            how = "at least" if or_equal else "above" if above else "below"
            return f"{level} {how} {than if isinstance(than, str) else number(than)}"


def _either(values: tuple[str, ...], word: str = "or") -> str:
    shown = [value or "empty" for value in values]
    return f" {word} ".join(shown) if len(shown) < 4 else f"{', '.join(shown[:-1])} {word} {shown[-1]}"


def meaning(rule: Rule) -> str:
    text = _MEANS[rule.verdict]
    if (more := rule.escalate) is not None:
        text += f"; {more.at} times or more within {duration(more.within)}: {_MEANS[more.verdict]}"
    if rule.lasting:
        text += f"; once it has lasted {duration(rule.lasting)}"
    if rule.yields_to:
        text += f"; degraded at most while {rule.yields_to} is known"
    if rule.per:
        text += f"; each {rule.per} by itself"
    if rule.cancels:
        text += f"; ends {', '.join(rule.cancels)}"
    if rule.fresh:
        text += f"; not if it is older than {duration(rule.fresh)}"
    return text


def ending(rule: Rule) -> str:
    if not rule.verdict.rank and rule.escalate is None:
        return ""
    if rule.needs:
        return _NEEDS[rule.needs]
    if rule.expires:
        return f"after {duration(rule.expires)} without another"
    held = f", {duration(rule.hold)} later" if rule.hold else ""
    return f"with the signal{held}" if not isinstance(rule.match, CodeMatch) else "when its pair is said"


def toml(rule: Rule) -> str:
    """The rule as a table that can stand in an operator's file."""
    lines = [f"[{rule.id}]", f"match = {_match(rule)}", f'class = "{rule.verdict}"']
    lines += [f"{name} = {_text(value)}" for name, value in (("action", rule.action), ("message", rule.message)) if value]
    lines += [f'needs = "{rule.needs}"'] if rule.needs else [f'expires = "{duration(rule.expires)}"'] if rule.expires else ["clears = true"]
    lines += [f"cancels = {_texts(rule.cancels)}"] if rule.cancels else []
    if (more := rule.escalate) is not None:
        parts = [f"at = {more.at}", f'within = "{duration(more.within)}"', f'class = "{more.verdict}"']
        parts += [f"{name} = {_text(value)}" for name, value in (("action", more.action), ("message", more.message)) if value]
        lines.append(f"escalate = {{ {', '.join(parts)} }}")
    lines += [
        f'{name} = "{duration(value)}"' for name, value in (("lasting", rule.lasting), ("hold", rule.hold), ("fresh", rule.fresh)) if value
    ]
    lines += [
        f"{name} = {_text(value)}"
        for name, value in (("yields_to", rule.yields_to), ("per", rule.per), ("source", rule.source), ("note", rule.note))
        if value
    ]
    return "\n".join(lines) + "\n"


def line_toml(line: Line) -> str:
    """The same for a line of the kernel log."""
    pattern = line.pattern.pattern
    written = f"'{pattern}'" if "'" not in pattern else _text(pattern)
    return f"[lines.{line.id}]\ntable = {_text(line.table)}\ncode = {_text(line.code)}\nhas = {_text(line.has)}\npattern = {written}\n"


def _match(rule: Rule) -> str:
    match rule.match:
        case CodeMatch(table=table, codes=codes, where=where):
            details = ", ".join(f"{name} = {_texts(values)}" for name, values in where)
            return f'{{ table = "{table}", code = {_texts(codes)}{f", where = {{ {details} }}" if where else ""} }}'
        case GrowthMatch(counter=counter, grew=grew, within=within):
            return f'{{ counter = "{counter}", grew = {grew}{f", within = {_text(duration(within))}" if within else ""} }}'
        case StateMatch(state=state, values=values, differs=differs, became=became):
            return f'{{ state = "{state}", {"became" if became else "is_not" if differs else "is"} = {_texts(values)} }}'
        case LevelMatch(level=level, than=than, above=above, or_equal=or_equal):
            how = "at_least" if or_equal else "above" if above else "below"
            return f'{{ level = "{level}", {how} = {_text(than) if isinstance(than, str) else number(than)} }}'


def _text(text: str) -> str:
    """A TOML basic string: JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False)


def _texts(texts: tuple[str, ...]) -> str:
    return _text(texts[0]) if len(texts) == 1 else f"[{', '.join(map(_text, texts))}]"
