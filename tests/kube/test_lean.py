"""aiohttp as it is imported by us."""

import os
import subprocess
import sys
from pathlib import Path

CERTS = Path(__file__).parent / "certs"

SCRIPT = """
import ssl
usual = ssl.SSLContext.set_default_verify_paths
from podvitals.kube.lean import aiohttp
assert ssl.SSLContext.set_default_verify_paths == usual
import podvitals.kube.transport
for context in (aiohttp.connector._SSL_CONTEXT_VERIFIED, aiohttp.connector._SSL_CONTEXT_UNVERIFIED):
    print(len(context.get_ca_certs()), end=" ")
print(aiohttp.connector._SSL_CONTEXT_VERIFIED.verify_mode.name, aiohttp.connector._SSL_CONTEXT_VERIFIED.check_hostname)
"""


def test_the_systems_authorities_are_not_loaded_for_a_context_that_is_never_used() -> None:
    """And that context trusts nobody; whoever needs the system's authorities loads them as ever."""
    environment = os.environ | {"SSL_CERT_FILE": str(CERTS / "ca.crt")}
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.split() == ["0", "0", "CERT_REQUIRED", "True"]
