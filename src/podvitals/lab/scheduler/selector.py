"""Does a device match a CEL expression? The only file that knows the CEL library, which is imported when the first expression needs it
(0.2 s).

What Kubernetes adds to CEL for devices is here: `device.driver`, `device.attributes["domain"].name`, `device.capacity["domain"].name`,
`quantity()`, `semver()` and their methods. What is missing (optionals, cel.bind, most string functions) fails by name, never silently.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from podvitals.claim.resource import Attribute, SliceDevice
from podvitals.errors import InvalidInput
from podvitals.lab.scheduler.quantity import Quantity, Semver

if TYPE_CHECKING:
    import celpy

# The expression of nearly every DeviceClass; a test holds this shortcut against the library.
_BY_DRIVER = re.compile(r"""\s*device\.driver\s*==\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*""")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_NO_KEY = re.compile(r"no such member in mapping: '([^']*)'|no such key.*?StringType\('([^']*)'\)", re.DOTALL)


class SelectorFailed(InvalidInput):
    """The expression cannot be evaluated for this device; the message names the function or the key that is missing."""


def needs_library(expression: str) -> bool:
    return _BY_DRIVER.fullmatch(expression) is None


def matches(expression: str, driver: str, device: SliceDevice) -> bool:
    """Whether the device matches, as upstream's `device` variable sees it. Raises SelectorFailed."""
    if (simple := _BY_DRIVER.fullmatch(expression)) is not None:
        return driver == (simple[1] if simple[1] is not None else simple[2])
    return _evaluate(expression, _activation(driver, device))


def qualified(driver: str, names: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """domain → name → value; a name without a domain belongs to the driver's (resource.k8s.io/v1 QualifiedName)."""
    domains: dict[str, dict[str, Any]] = {}
    for name, value in names.items():
        domain, slash, rest = name.partition("/")
        domains.setdefault(domain if slash else driver, {})[rest if slash else name] = value
    return domains


def attribute_value(attribute: Attribute) -> object:
    """The one value that is set; a version as Semver."""
    if attribute.version is not None:
        return Semver.parse(attribute.version)
    return next((value for value in (attribute.string, attribute.integer, attribute.boolean) if value is not None), None)


@lru_cache(maxsize=512)
def _program(expression: str) -> "celpy.Runner":
    import celpy
    from celpy.celparser import CELParseError

    try:
        environment = celpy.Environment()
        return environment.program(environment.compile(expression), functions=_functions())
    except CELParseError as error:
        where = f" (line {error.line}, column {error.column})" if getattr(error, "line", None) else ""
        raise SelectorFailed(f"cannot be read as CEL{where}; the lab's CEL has no optional syntax such as .? and [?]") from None


def _evaluate(expression: str, activation: dict[str, Any]) -> bool:
    from celpy.celtypes import BoolType
    from celpy.evaluation import CELEvalError

    program = _program(expression)
    try:
        result = program.evaluate(activation)
    except CELEvalError as error:
        raise SelectorFailed(_reason(str(error))) from None
    if not isinstance(result, BoolType | bool):
        raise SelectorFailed(f"gives {type(result).__name__.removesuffix('Type').lower()}, not true or false")
    return bool(result)


def _reason(text: str) -> str:
    if (undeclared := _UNDECLARED.search(text)) is not None:
        return f"uses {undeclared[1]!r}, which the lab's CEL does not have"
    if (missing := _NO_KEY.search(text)) is not None:
        return f"failed: no such key: {missing[1] or missing[2]}"
    return f"failed: {text.splitlines()[0][:200] if text else 'no reason given'}"


def _activation(driver: str, device: SliceDevice) -> dict[str, Any]:
    from celpy.celtypes import BoolType, IntType, MapType, StringType

    class Domains(MapType):
        """A domain nobody uses is an empty map, as upstream; `in` still says that it is not there."""

        def __getitem__(self, key: Any) -> Any:
            return super().__getitem__(key) if key in self else MapType()

    def value(raw: object) -> Any:
        match raw:
            case bool():
                return BoolType(raw)
            case int():
                return IntType(raw)
            case str():
                return StringType(raw)
            case _:
                return raw

    def domains(names: Mapping[str, object]) -> Any:
        return Domains(
            {
                StringType(domain): MapType({StringType(name): value(raw) for name, raw in values.items()})
                for domain, values in qualified(driver, names).items()
            }
        )

    attributes = {name: attribute_value(attribute) for name, attribute in device.attributes.items()}
    capacity = {name: Quantity.parse(entry.value) for name, entry in device.capacity.items()}
    fields = {
        "driver": StringType(driver),
        "attributes": domains(attributes),
        "capacity": domains(capacity),
        "allowMultipleAllocations": BoolType(device.allow_multiple_allocations),
    }
    return {"device": MapType({StringType(name): content for name, content in fields.items()})}


def _functions() -> dict[str, Callable[..., Any]]:
    from celpy.celtypes import BoolType, DoubleType, IntType, StringType

    def parses(parse: Callable[[str], object]) -> Callable[[Any], Any]:
        def check(text: Any) -> Any:
            try:
                parse(str(text))
            except ValueError:
                return BoolType(False)
            return BoolType(True)

        return check

    return {
        "quantity": lambda text: Quantity.parse(str(text)),
        "isQuantity": parses(Quantity.parse),
        "semver": lambda text: Semver.parse(str(text)),
        "isSemver": parses(Semver.parse),
        "compareTo": lambda a, b: IntType((a > b) - (a < b)),
        "isGreaterThan": lambda a, b: BoolType(a > b),
        "isLessThan": lambda a, b: BoolType(a < b),
        "asInteger": lambda a: IntType(a.integer()),
        "asApproximateFloat": lambda a: DoubleType(float(a.value)),
        "isInteger": lambda a: BoolType(a.value == int(a.value)),
        "sign": lambda a: IntType((a.value > 0) - (a.value < 0)),
        "add": lambda a, b: a.plus(b),
        "sub": lambda a, b: a.minus(b),
        "major": lambda a: IntType(a.major),
        "minor": lambda a: IntType(a.minor),
        "patch": lambda a: IntType(a.patch),
        "lowerAscii": lambda a: StringType(str(a).lower()),
        "upperAscii": lambda a: StringType(str(a).upper()),
    }
