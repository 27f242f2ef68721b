"""Rules as an operator writes them: read, laid over podvitals' own, and refused with line, column and what would be right."""

from pathlib import Path

import pytest

from podvitals.detect.evidence import Evidence
from podvitals.detect.rules.describe import line_toml, toml
from podvitals.detect.rules.load import builtin, check_whole, load_file, read_rules
from podvitals.detect.rules.positions import Positions
from podvitals.detect.rules.rule import Class, CodeMatch, Damping, Escalation, GrowthMatch, LevelMatch, Rules, StateMatch
from podvitals.detect.signal import State
from podvitals.device.health import Health
from podvitals.errors import InvalidInput, LocalError

WHOLE = """
[toy.code]
match = { table = "toy", code = [1, "two"], where = { how = "badly" } }
class = "fatal"
action = "reset-gpu"
message = "code {code}[ ({how})]"
needs = "reset"
cancels = ["toy.rate"]
escalate = { at = 5, within = "24h", class = "fatal", action = "service", message = "often" }
fresh = "90min"
yields_to = "toy.state"
note = "why"
source = "https://example.com/code"

[toy.rate]
match = { counter = "toy.errors", grew = 101, within = "1min" }
class = "degraded"
message = "many"
clears = true
lasting = "500ms"
hold = "30s"

[toy.state]
match = { state = "toy.state", is_not = "live" }
class = "unknown"
message = "{value}"
clears = true

[toy.level]
match = { level = "toy.width", below = "toy.max_width" }
class = "degraded"
message = "x{value}"
expires = "7d"
"""


def test_every_field_of_a_rule_is_read() -> None:
    rules = read_rules(WHOLE, "toys.toml", Rules(), origin="toys.toml").rules
    code = rules["toy.code"]
    assert code.match == CodeMatch("toy", ("1", "two"), (("how", ("badly",)),))
    assert (code.verdict, code.action, code.needs, code.cancels, code.fresh) == (Class.FATAL, "reset-gpu", "reset", ("toy.rate",), 5400.0)
    assert code.escalate == Escalation(5, 86400.0, Class.FATAL, "service", "often")
    assert (code.yields_to, code.note, code.source, code.origin) == ("toy.state", "why", "https://example.com/code", "toys.toml")
    assert rules["toy.rate"].match == GrowthMatch("toy.errors", 101, 60.0)
    assert (rules["toy.rate"].lasting, rules["toy.rate"].hold, rules["toy.rate"].clears) == (0.5, 30.0, True)
    assert rules["toy.state"].match == StateMatch("toy.state", ("live",), differs=True)
    assert rules["toy.level"].match == LevelMatch("toy.width", "toy.max_width", above=False)
    assert rules["toy.level"].expires == 7 * 86400.0


def test_every_rule_shown_as_toml_reads_back_as_the_same_rule() -> None:
    for rule in builtin():
        assert read_rules(toml(rule), "shown.toml", Rules(), origin="").rules[rule.id] == rule


def test_every_line_shown_as_toml_reads_back_as_the_same_line() -> None:
    for line in builtin().lines.values():
        assert read_rules(line_toml(line), "shown.toml", Rules(), origin="").lines[line.id] == line


def over(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    return load_file(path)


def test_an_operators_file_changes_only_the_fields_it_gives(tmp_path: Path) -> None:
    before, rules = builtin().rules["xid.48"], over(tmp_path, '[xid.48]\nclass = "degraded"\n')
    assert rules.rules["xid.48"].verdict is Class.DEGRADED
    assert rules.rules["xid.48"].message == before.message
    assert rules.rules["xid.48"].needs == "reset"
    assert rules.rules["xid.79"] == builtin().rules["xid.79"]
    assert len(rules) == len(builtin())
    assert rules.rules["xid.48"].origin.endswith("ours.toml")


def test_another_way_to_end_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    rule = over(tmp_path, '[xid.48]\nexpires = "1h"\n').rules["xid.48"]
    assert (rule.needs, rule.expires) == ("", 3600.0)
    rule = over(tmp_path, "[pcie.aer-nonfatal]\nneeds = 'reset'\n").rules["pcie.aer-nonfatal"]
    assert (rule.needs, rule.expires) == ("reset", 0.0)


def test_a_new_rule_stands_beside_those_there_are(tmp_path: Path) -> None:
    text = '[xid.4711]\nmatch = { table = "xid", code = 4711 }\nclass = "fatal"\nmessage = "ours"\nneeds = "reset"\n'
    rules = over(tmp_path, text)
    assert [rule.id for rule in rules.of_code("xid", "4711", {})] == ["xid.4711"], "before the rule for any other"


def test_lines_of_the_kernel_log_are_changed_and_added_like_rules(tmp_path: Path) -> None:
    rules = over(tmp_path, "[lines.xid]\nhas = 'Xid'\n[lines.more]\nhas = 'x'\npattern = 'x(?P<n>.)'\ntable = 'xid'\ncode = '{n}'\n")
    xid, more, before = rules.lines["xid"], rules.lines["more"], builtin().lines["xid"]
    assert (xid.has, xid.pattern, xid.code, xid.table) == ("Xid", before.pattern, before.code, before.table)
    assert (more.table, more.code, more.origin) == ("xid", "{n}", str(tmp_path / "ours.toml"))
    assert len(rules.lines) == len(builtin().lines) + 1


def test_what_a_line_says_of_a_device_s_life_needs_no_rule(tmp_path: Path) -> None:
    assert over(tmp_path, "[lines.reset]\nhas = 'x'\npattern = 'x'\ntable = 'life'\ncode = 'reset'\n").lines["reset"].code == "reset"


def test_an_operator_says_how_often_a_device_may_change(tmp_path: Path) -> None:
    rules = over(tmp_path, '[damping]\nchanges = 4\nwindow = "1h"\nhold = "30s"\n')
    assert rules.damping == Damping(4, 3600.0, 30.0)
    assert over(tmp_path, '[damping]\nwindow = "1h"\n').damping == Damping(8, 3600.0)
    evidence = Evidence(rules)
    for now, carrier in enumerate("1011"):
        reading = evidence.take("d", [State("net.carrier", carrier)], float(now))
    assert reading.health is Health.UNHEALTHY, "held at its worst after the first flap"


WRONG = [
    ("[damping]\nchanges = 3\n", "2:11: changes 3 is too few: there must be more than 3"),
    ('[damping]\nwindows = "1h"\n', "2:1: damping has no field 'windows': did you mean 'window'?"),
    ('[damping]\nwindow = "0s"\n', "2:10: window '0s' is not a time"),
    ('[xid.48]\nclass = "fatl"\n', "2:9: class 'fatl' is none of healthy, application, degraded, unknown, fatal: did you mean 'fatal'?"),
    ('[xid.48]\n  clas = "fatal"\n', "2:3: rule xid.48 has no field 'clas': did you mean 'class'?"),
    ('[xid.48]\naction = "reset"\n', "2:10: action 'reset' is none of '', restart-app, reset-gpu, reboot, power-cycle, service"),
    ('[xid.48]\nexpires = "soon"\n', "2:11: expires 'soon' is not a time such as '30s', '10min' or '24h'"),
    ("[xid.48]\nexpires = 5\n", "2:11: expires 5 is not a time"),
    ('[xid.48]\nneeds = "reset"\nexpires = "1h"\n', "3:1: rule xid.48 says needs and expires: it ends in one way only"),
    ("[xid.48]\nclears = false\n", "2:10: clears False is not true"),
    ('[xid.48]\nmessage = "{"\n', "2:11: message '{': "),
    ('[xid.48]\nmessage = "{a.b}"\n', "2:11: message '{a.b}': {a.b} is not a name in braces"),
    ('[xid.48]\nmessage = "[a [b]]"\n', "brackets must be paired, and not stand in one another"),
    ('[xid.48]\nmessage = " "\n', "2:11: message is empty"),
    ('[xid.48]\n# a comment\nmatch = { tabel = "xid" }\n', "3:9: match must be about one of table, counter, state, level"),
    ('[xid.48]\nmatch = { table = "xid" }\n', "2:9: match about a table needs `code`"),
    ('[xid.48]\nmatch = { table = "xid", code = [] }\n', "2:9: match code [] is neither a text nor a list of texts"),
    ('[xid.48]\nmatch = { counter = "a", grow = 1 }\n', "2:9: match about a counter has no 'grow': did you mean 'grew'?"),
    ('[xid.48]\nmatch = { counter = "a", grew = 0 }\n', "2:9: match grew 0 is not a whole number of at least 1"),
    ('[xid.48]\nmatch = { state = "a" }\n', "2:9: match about a state needs one of is, is_not, became"),
    ('[xid.48]\nmatch = { level = "a", above = true }\n', "2:9: match about a level needs one of above, below, at_least"),
    ("[xid.48]\nescalate = { at = 5 }\n", "2:12: escalate needs at, within and class"),
    ('[xid.48]\nescalate = { at = 5, within = "x", class = "fatal" }\n', "2:12: escalate within 'x' is not a time"),
    ('[xid.new]\nclass = "fatal"\n', "1:6: rule xid.new is new and says no match and no message"),
    ('[xid."a b"]\nclass = "fatal"\n', "1:6: rule 'a b' is not a name of small letters, digits and dashes"),
    ("xid = 1\n", "1:1: xid is not a table: write a rule as [family.name]"),
    ("[xid]\n48 = 1\n", "2:1: xid.48 is not a table: write a rule as [xid.48]"),
    ("[xid]\nabout = 1\n", "2:9: about is not a text"),
    (
        '[a.b]\nmatch = { table = "a", code = 1 }\nclass = "fatal"\nmessage = "m"\nhold = "1s"\nclears = true\n',
        "1:4: rule a.b is about something said once",
    ),
    (
        '[a.b]\nmatch = { counter = "a" }\nclass = "fatal"\nmessage = "m"\nclears = true\n',
        "1:4: rule a.b is about growth, which is over when it is seen",
    ),
    ('[pcie.gone]\nper = "link"\n', "1:7: rule pcie.gone says `per`, which is about something said once"),
    ("lines = 1\n", "1:1: lines is not a table"),
    ("[lines]\nxid = 1\n", "2:1: lines.xid is not a table: write a line as [lines.xid]"),
    ("[lines.xid]\nhas = ''\n", "2:7: has is empty"),
    ("[lines.xid]\npattern = '('\n", "2:11: pattern is no regular expression: missing )"),
    ("[lines.xid]\npatern = 'x'\n", "2:1: line xid has no field 'patern': did you mean 'pattern'?"),
    ("[lines.xid]\ncode = '{x.y}'\n", "2:8: code '{x.y}': {x.y} is not a name in braces"),
    ("[lines.xid]\ncode = '{xidd}'\n", "2:8: code asks for {xidd}, and the pattern has no such group; it has pci, xid, "),
    ("[lines.new]\nhas = 'x'\n", "1:8: line new is new and says no pattern"),
    ("[lines.A]\nhas = 'x'\n", "1:8: line 'A' is not a name of small letters, digits and dashes"),
    (
        "[lines.new]\nhas = 'x'\npattern = 'x'\n",
        '1:8: line new is kmsg new, which no rule knows: write one with match = { table = "kmsg", code = "new" }',
    ),
    ("\n[lines.xid]\ntable = 'xidd'\n", "2:8: line xid is xidd {xid}, which no rule knows"),
    ('[lines.xid]\npattern = "\\d"\n', "2:14: unescaped '\\' in a string: a text with backslashes stands in single quotes"),
    ("[xid.162]\ncancels = ['xid.163', 'xid.one']\n", "2:11: rule xid.162 cancels xid.one, which is no rule"),
    ('[xid.48]\nclass = "fatal\n', "2:15: illegal character"),
    ("[xid.48]\n[xid.48]\n", "2:8: cannot declare ('xid', '48') twice"),
]


@pytest.mark.parametrize(("text", "why"), WRONG, ids=[why[:60] for _, why in WRONG])
def test_a_mistake_is_told_with_its_line_and_column_and_what_would_be_right(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        over(tmp_path, text)
    assert f"ours.toml:{why}" in str(refused.value) or (not why[0].isdigit() and why in str(refused.value))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        over(tmp_path, '[xid.48]\nclass = "x"\naction = "y"\n\n[xid.79]\nneed = "reset"\n')
    lines = str(refused.value).splitlines()
    assert [line.split(".toml:")[1].split(": ")[0] for line in lines] == ["2:9", "3:10", "6:1"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[xid.162]\ncancels = ["xid.nothing"]\n', "rule xid.162 cancels xid.nothing, which is no rule"),
        ('[xid.162]\ncancels = ["xid.79"]\n', "ours.toml: rule xid.163 is about something said once and would never end"),
    ],
)
def test_what_does_not_fit_the_other_rules_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why.replace("[", ".").replace("(", ".")):
        over(tmp_path, text)


def test_a_file_that_cannot_be_read_is_this_machines_fault_and_one_that_is_no_text_the_writers(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        load_file(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"[xid.48]\n\xff\n")
    with pytest.raises(InvalidInput, match=r"binary.toml:2: it is not UTF-8"):
        load_file(tmp_path / "binary.toml")


def test_podvitals_own_rules_are_whole() -> None:
    check_whole(builtin(), "ours")


def test_places_are_found_in_every_form_of_toml() -> None:
    text = """# a comment with [a.table]
top = 1
[a . "b c"]   # spaces and quotes
'd' = [ 1, # inside
  { e = 2 } ]
f.g = '''
[not.a.table]
''' # after
h = { i = { j = "}" }, k = 1979-05-27 07:32:00 }
[[l]]
m = \"\"\"x\\\"\"\"\"
n = true
"""
    places = Positions(text)
    assert places.key(("top",)) == (2, 1)
    assert places.value(("top",)) == (2, 7)
    assert places.key(("a", "b c")) == (3, 6)
    assert places.value(("a", "b c", "d")) == (4, 7)
    assert places.value(("a", "b c", "d", "e")) == (5, 9)
    assert places.value(("a", "b c", "f", "g")) == (6, 7)
    assert places.value(("a", "b c", "h", "i", "j")) == (9, 17)
    assert places.value(("a", "b c", "h", "k")) == (9, 28)
    assert places.value(("l", "n")) == (12, 5)
    assert places.key(("a", "nothing", "there")) == (3, 2), "the nearest around it"
    assert Positions("").key(("a",)) == (1, 1)


def test_places_are_found_in_podvitals_own_files() -> None:
    import podvitals.detect.rules

    for path in Path(podvitals.detect.rules.__file__).parent.glob("*.toml"):
        text = path.read_text()
        lines = text.splitlines()
        places = Positions(text)
        for rule in (rule for rule in read_rules(text, path.name, builtin(), origin="")):
            family, name = rule.id.split(".")
            if (family, name, "class") in places.values:
                line, column = places.value((family, name, "class"))
                assert lines[line - 1][column - 1 :].startswith('"')
