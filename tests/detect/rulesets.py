"""A small set of rules with one of each kind, for tests of the machine apart from the catalogue."""

from podvitals.detect.rules.load import check_whole, read_rules
from podvitals.detect.rules.rule import Rules

TOML = """
[toy.dead]
match = { table = "toy", code = "dead" }
class = "fatal"
action = "power-cycle"
message = "dead[ (PCI {pci})]"
needs = "reboot"

[toy.stuck]
match = { table = "toy", code = "stuck" }
class = "fatal"
action = "reset-gpu"
message = "stuck"
needs = "reset"

[toy.worn]
match = { table = "toy", code = "worn" }
class = "fatal"
action = "service"
message = "worn out"
needs = "service"

[toy.bug]
match = { table = "toy", code = "bug" }
class = "application"
action = "restart-app"
message = "bug"
expires = "1h"
escalate = { at = 3, within = "1h", class = "fatal", action = "reset-gpu", message = "bugs again and again" }

[toy.off]
match = { table = "toy", code = "off" }
class = "degraded"
message = "smoothing is off"
clears = true

[toy.on]
match = { table = "toy", code = "on" }
class = "healthy"
message = "smoothing is on"
cancels = ["toy.off"]

[toy.old]
match = { table = "toy", code = "old" }
class = "fatal"
message = "an old record"
fresh = "1h"
expires = "1h"

[toy.other]
match = { table = "toy", code = "*" }
class = "degraded"
message = "code {code}: unknown"
expires = "1min"

[toy.special]
match = { table = "toy", code = "stuck", where = { how = "lightly" } }
class = "degraded"
message = "stuck lightly"
expires = "1min"

[toy.errors]
match = { counter = "toy.errors" }
class = "degraded"
message = "errors"
expires = "1h"
escalate = { at = 3, within = "1h", class = "fatal", message = "many errors" }

[toy.storm]
match = { counter = "toy.corrected", grew = 101, within = "1min" }
class = "degraded"
message = "storm on {part}"
clears = true

[toy.link]
match = { state = "toy.link", is_not = "up" }
class = "fatal"
message = "link {part} is {value}"
clears = true

[toy.asked]
match = { state = "toy.asked", is = "reset" }
class = "fatal"
message = "asked for a reset"
clears = true

[toy.yields]
match = { table = "toy", code = "yields" }
class = "fatal"
message = "perhaps"
needs = "reset"
yields_to = "toy.asked"

[toy.frozen]
match = { state = "toy.frozen", became = "1" }
class = "fatal"
message = "became frozen"
clears = true

[toy.narrow]
match = { level = "toy.width", below = "toy.max_width" }
class = "degraded"
message = "x{value} of x{other}"
clears = true
lasting = "30s"

[toy.hot]
match = { level = "toy.temperature", at_least = 100 }
class = "degraded"
message = "hot"
clears = true
hold = "1min"
"""


def toys() -> Rules:
    rules = read_rules(TOML, "toys.toml", Rules(), origin="")
    check_whole(rules, "toys.toml")
    return rules
