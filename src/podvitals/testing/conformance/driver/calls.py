"""Prepare and unprepare (CONTRACT §2), and what is not served."""

import asyncio
from collections.abc import Mapping

from podvitals.errors import PluginError
from podvitals.testing.conformance.case import Cases, Failed, Skipped, Warned
from podvitals.testing.conformance.driver.subject import CALL_TIMEOUT, DriverSubject
from podvitals.testing.conformance.line import Answer, Line, status_of
from podvitals.wire.convert import decode_prepared, decode_unprepared, encode_claims
from podvitals.wire.messages import ALL_VERSIONS, DRA_VERSIONS, ClaimRef, PrepareResult
from podvitals.wire.services import prepare_method, unprepare_method, watch_method
from podvitals.wire.stream import CallFailed, PeerLost, Status

CASES: Cases[DriverSubject] = Cases()

STRANGERS = tuple(ClaimRef("podvitals-conformance", f"00000000-0000-4000-8000-00000000000{n}", f"no-such-claim-{n}") for n in range(2))
"""Claims that no cluster has."""


async def _calls(driver: DriverSubject) -> tuple[str, str]:
    """The prepare and unprepare methods a kubelet takes."""
    dra = (await driver.info()).dra
    if not dra:
        raise Skipped("the driver lists no DRA service: see case versions")
    return prepare_method(dra[0]), unprepare_method(dra[0])


async def _answered(line: Line, method: str, claims: tuple[ClaimRef, ...], timeout: float) -> bytes:
    answer = await line.call(method, encode_claims(claims), timeout=timeout)
    if answer.status is not Status.OK:
        raise Failed(f"{method} of {len(claims)} claims ended with {answer}")
    return answer.message


async def prepare(driver: DriverSubject, line: Line, *claims: ClaimRef) -> Mapping[str, PrepareResult]:
    method, _ = await _calls(driver)
    try:
        return decode_prepared(await _answered(line, method, claims, driver.timeout if claims else min(CALL_TIMEOUT, driver.timeout)))
    except PluginError as error:
        raise Failed(str(error)) from None


async def unprepare(driver: DriverSubject, line: Line, *claims: ClaimRef) -> Mapping[str, str]:
    _, method = await _calls(driver)
    try:
        return decode_unprepared(await _answered(line, method, claims, driver.timeout))
    except PluginError as error:
        raise Failed(str(error)) from None


@CASES.case(
    "empty-claims",
    "An empty claims list is a liveness probe; every DRA service listed answers it.",
    "CONTRACT §2",
    do="answer no claims with an empty map, in each DRA version listed",
)
async def empty_claims(driver: DriverSubject) -> str:
    versions = (await driver.info()).dra
    await _calls(driver)
    async with driver.calling() as line:
        for version in versions:
            for method in (prepare_method(version), unprepare_method(version)):
                answer = await line.call(method, timeout=min(CALL_TIMEOUT, driver.timeout))
                if answer.status is not Status.OK:
                    raise Failed(f"{method} ended with {answer}")
                if decode_prepared(answer.message):
                    raise Failed(f"{method} answered claims that were not asked for")
    return f"answered in {' and '.join(versions)}"


_LOOKED_UP = (
    "nothing, where the helper (kubeletplugin) serves the driver; in a server of your own put the error into the claim's entry: a failed "
    "call fails every claim in it, and each is retried only 60 to 90 s later"
)


@CASES.case(
    "unknown-claim",
    "Prepare of a claim that cannot be prepared answers an entry with an error; the call itself succeeds.",
    "CONTRACT §2",
    do="put the error into the claim's entry: a failed call fails every claim in it, and each is retried only 60 to 90 s later",
)
async def unknown_claim(driver: DriverSubject) -> str:
    method, _ = await _calls(driver)
    async with driver.calling() as line:
        whole = await line.call(method, encode_claims(STRANGERS[:1]), timeout=driver.timeout)
        if whole.status is Status.UNIMPLEMENTED:
            raise Failed(f"{method} ended with {whole}")
        if whole.status is not Status.OK:
            raise Warned(f"the whole call failed, as where upstream's helper looks claims up first: {whole}", _LOOKED_UP)
        answer = await prepare(driver, line, STRANGERS[0])
    if STRANGERS[0].uid not in answer:
        raise Failed(f"no entry for the claim; entries for {', '.join(sorted(answer)) or 'none'}")
    if not answer[STRANGERS[0].uid].error:
        raise Failed("the claim exists in no cluster, and was said to be prepared")
    return f"error {answer[STRANGERS[0].uid].error!r}"


@CASES.case(
    "every-claim-answered",
    "Every claim asked for has an entry in the answer, of prepare and of unprepare.",
    "CONTRACT §2",
    do="answer each claim by its uid, whatever becomes of the others",
)
async def every_claim(driver: DriverSubject) -> str:
    wanted = {claim.uid for claim in STRANGERS}
    method, _ = await _calls(driver)
    async with driver.calling() as line:
        whole = await line.call(method, encode_claims(STRANGERS), timeout=driver.timeout)
        # A call that fails as a whole answers nothing; what it does with claims that exist is another case.
        answers = {"prepare": set(await prepare(driver, line, *STRANGERS))} if whole.status is Status.OK else {}
        answers["unprepare"] = set(await unprepare(driver, line, *STRANGERS))
    for what, answered in answers.items():
        if answered != wanted:
            raise Failed(f"{what} of {len(wanted)} claims answered {len(answered & wanted)} of them and {len(answered - wanted)} others")
    return f"{len(wanted)} of {len(wanted)} by {' and '.join(answers)}"


@CASES.case(
    "unprepare-unknown",
    "Unprepare of a claim that is not prepared succeeds: it may have been done by another instance.",
    "CONTRACT §2",
    do="take a claim nothing is known of as unprepared; an error keeps its pod terminating, retried for ever",
)
async def unprepare_unknown(driver: DriverSubject) -> str:
    async with driver.calling() as line:
        for time in ("first", "second"):
            answer = await unprepare(driver, line, STRANGERS[0])
            if error := answer.get(STRANGERS[0].uid, "no entry for it"):
                raise Failed(f"the {time} time: {error}")
    return "twice without an error"


@CASES.case(
    "prepare-real",
    "A claim allocated for the driver is prepared: an entry without error, with the devices it was given.",
    "CONTRACT §2",
    do="see the driver's log: pods with such a claim cannot start",
)
async def prepare_real(driver: DriverSubject) -> str:
    claims = _real(driver)
    async with driver.calling() as line:
        answer = await prepare(driver, line, *claims)
    for claim in claims:
        if claim.uid not in answer:
            raise Failed(f"no entry for claim {claim.namespace}/{claim.name}")
        if error := answer[claim.uid].error:
            raise Failed(f"claim {claim.namespace}/{claim.name}: {error}")
        if any(not device.pool_name or not device.device_name for device in answer[claim.uid].devices):
            raise Failed(f"claim {claim.namespace}/{claim.name}: a device without pool or name")
    devices = [f"{device.pool_name}/{device.device_name}" for claim in claims for device in answer[claim.uid].devices]
    if not devices:
        raise Warned("prepared without a device", "answer the devices: the pod's field names them by what prepare answers")
    return ", ".join(devices)


@CASES.case(
    "prepare-again",
    "Both calls are repeated and must be idempotent: a claim prepared again is answered as before, unprepared twice without an error.",
    "CONTRACT §2",
    do="answer a claim that is prepared already from what was prepared",
)
async def prepare_again(driver: DriverSubject) -> str:
    claims = _real(driver)
    async with driver.calling() as line:
        first, second = await prepare(driver, line, *claims), await prepare(driver, line, *claims)
        if first != second:
            raise Failed(f"prepared again: {second}; first: {first}")
        for time in ("first", "second"):
            errors = {uid: error for uid, error in (await unprepare(driver, line, *claims)).items() if error}
            if errors:
                raise Failed(f"unprepare the {time} time: {next(iter(errors.values()))}")
    return f"{len(claims)} claims, the same answer twice; unprepared twice"


def _real(driver: DriverSubject) -> tuple[ClaimRef, ...]:
    if not driver.claims:
        raise Skipped("no claim to try it on: name an allocated one with --claim NAMESPACE/NAME/UID")
    return tuple(driver.claims)


@CASES.case(
    "shared-connection",
    "One connection carries DRA calls and the health stream.",
    "CONTRACT §3",
    do="serve DRA and health on the same socket, any number of calls at once",
)
async def shared_connection(driver: DriverSubject) -> str:
    version = await driver.health_version()
    async with driver.calling() as line:
        stream = await line.watch(watch_method(version))
        try:
            for _ in range(3):
                await prepare(driver, line)
        finally:
            stream.close()
        await prepare(driver, line)
    return "three calls while a health stream was open, one after it was closed"


@CASES.case(
    "unlisted-services",
    "A service that is not listed is answered UNIMPLEMENTED: kubelets 1.34 to 1.36 try v1alpha1 health always.",
    "CONTRACT §3",
    do="answer UNIMPLEMENTED to services that are not served, and list those that are",
)
async def unlisted(driver: DriverSubject) -> str:
    info = await driver.info()
    served = []
    hidden = [version for version in ALL_VERSIONS if version not in info.versions]
    async with driver.calling() as line:
        for version in hidden:
            method = prepare_method(version) if version in DRA_VERSIONS else watch_method(version)
            answer = await _first_word(line, method)
            if answer.status is Status.OK:
                served.append(version)
            elif answer.status is not Status.UNIMPLEMENTED:
                raise Failed(f"{version} is not listed, and is answered {answer}")
    if served:
        raise Warned(f"served but not listed: {', '.join(served)}", "list them: a kubelet from 1.37 on opens no health stream otherwise")
    return f"UNIMPLEMENTED: {', '.join(hidden)}" if hidden else "every service is listed"


@CASES.case(
    "unknown-method",
    "A method nobody serves is answered UNIMPLEMENTED, and the connection lives on.",
    "CONTRACT §3",
    do="leave unknown methods to the gRPC library, which answers so by itself",
)
async def unknown_method(driver: DriverSubject) -> str:
    async with driver.calling() as line:
        for method in ("/v1.DRAResourceHealth/PodvitalsConformance", "/podvitals.conformance.Nobody/Nothing"):
            answer = await _first_word(line, method)
            if answer.status is not Status.UNIMPLEMENTED:
                raise Failed(f"{method} is answered {answer}")
        await prepare(driver, line)
    return "UNIMPLEMENTED, twice on one connection"


async def _first_word(line: Line, method: str) -> Answer:
    """How a call ends; OK as well for one that brings a message or stays open, as a health stream does."""
    stream = await line.watch(method)
    try:
        async with asyncio.timeout(1.0):
            if await stream.message() is not None:
                return Answer(Status.OK)
        return status_of(stream)
    except TimeoutError:
        return Answer(Status.OK, text="it stays open")
    except (PeerLost, CallFailed) as error:
        raise Failed(f"{method}: {error}") from None
    finally:
        stream.close()
