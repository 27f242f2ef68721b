"""TLS: the cluster's own authority, a client certificate, a server name; what fails is told with the reason."""

import ssl
from pathlib import Path

import pytest

from podvitals.errors import ApiUnreachable, InvalidInput
from podvitals.kube.client import Client
from podvitals.kube.config import Secret
from podvitals.kube.resources import PODS
from tests.kube.fake import FakeApi, fake_api

CERTS = Path(__file__).parent / "certs"
CA = (CERTS / "ca.crt").read_bytes()
PAIR = Secret("", (CERTS / "client.crt").read_bytes(), (CERTS / "client.key").read_bytes())


def server(*, client_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    if client_certificate:
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # the test's authority is a plain one
        context.load_verify_locations(CERTS / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def listed(api: FakeApi, credentials: Secret = Secret("t"), **more: object) -> int:  # noqa: B008 (immutable)
    async with Client(api.config(credentials, **more), timeout=5.0) as client:
        return len((await client.list(PODS)).items)


async def test_a_server_that_the_authority_vouches_for_is_trusted() -> None:
    async with fake_api(tls=server()) as api:
        assert await listed(api, ca=CA) == 0


async def test_a_server_of_another_authority_is_not_talked_to() -> None:
    async with fake_api(tls=server()) as api:
        with pytest.raises(ApiUnreachable, match=r"TLS failed: .*(unable to get local issuer|self.signed).*Is certificate-authority"):
            await listed(api, ca=(CERTS / "other.crt").read_bytes())
        with pytest.raises(ApiUnreachable, match="TLS failed"):
            await listed(api)
        assert api.requests == [], "no token may reach a server that is not the cluster's"


async def test_insecure_accepts_any_certificate() -> None:
    async with fake_api(tls=server()) as api:
        assert await listed(api, insecure=True) == 0


async def test_the_name_in_the_certificate_counts_and_may_be_given() -> None:
    async with fake_api(tls=server()) as api:
        assert await listed(api, ca=CA, tls_server_name="kubernetes.default") == 0
        with pytest.raises(ApiUnreachable, match=r"TLS failed: .*Hostname mismatch.*'other\.example'"):
            await listed(api, ca=CA, tls_server_name="other.example")


async def test_a_client_certificate_is_shown() -> None:
    async with fake_api(tls=server(client_certificate=True)) as api:
        assert await listed(api, PAIR, ca=CA) == 0
        with pytest.raises(ApiUnreachable):
            await listed(api, Secret("t"), ca=CA)


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        (Secret("", PAIR.certificate, (CERTS / "server.key").read_bytes()), "KEY_VALUES_MISMATCH"),
        (Secret("", b"nonsense", PAIR.key), "the client certificate and key do not work"),
        (Secret("", PAIR.certificate, (CERTS / "locked.key").read_bytes()), "the client certificate and key do not work"),
    ],
)
async def test_a_client_certificate_that_does_not_work_is_told_and_never_asks_for_a_password(secret: Secret, told: str) -> None:
    async with fake_api(tls=server()) as api:
        with pytest.raises(InvalidInput, match=told):
            await listed(api, secret, ca=CA)


async def test_an_authority_that_is_no_certificate_is_told() -> None:
    async with fake_api(tls=server()) as api:
        with pytest.raises(InvalidInput, match=r"the certificate authority is not a PEM certificate \(the test's kubeconfig\)"):
            await listed(api, ca=b"nonsense")


async def test_https_to_a_server_of_plain_http_is_told(api: FakeApi) -> None:
    api.url = api.url.replace("http:", "https:")
    with pytest.raises(ApiUnreachable, match="TLS failed"):
        await listed(api, ca=CA)
