"""TLS as a kubeconfig asks for it: authorities, a client certificate, or no check at all. Blocking: run it in a thread."""

import os
import ssl

from podvitals.errors import InvalidInput
from podvitals.kube.config import ClusterConfig, Secret


def tls_context(config: ClusterConfig, secret: Secret) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=config.ca.decode("ascii") if config.ca else None)
    except (ssl.SSLError, ValueError):
        raise InvalidInput(f"the certificate authority is not a PEM certificate ({config.source})") from None
    # Clusters' own authorities are often older than RFC 5280's strictness; Go accepts them, and so must we.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if secret.certificate:
        _load(context, config, secret)
    return context


def _load(context: ssl.SSLContext, config: ClusterConfig, secret: Secret) -> None:
    """OpenSSL reads keys from files only: give it one in memory, so that no key is written to a disk."""
    memory = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(memory, secret.certificate.rstrip() + b"\n" + secret.key)
        # The password stands for "none": without it OpenSSL would ask for one on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{memory}", password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or "they are not PEM, or the key is encrypted"
        raise InvalidInput(f"the client certificate and key do not work ({config.source}): {why}") from None
    finally:
        os.close(memory)
