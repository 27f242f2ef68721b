"""Credentials that live: a token file re-read, an exec plugin asked again when what it gave expires."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field

from podvitals.claim.times import unix
from podvitals.clock import Clock
from podvitals.errors import InvalidInput, LocalError
from podvitals.kube.config import Credentials, ExecPlugin, Secret, TokenFile

REREAD = 60.0
"""Seconds a token read from a file is used. Kubernetes renews a service account's when a fifth of its hour is left."""
_EARLY = 10.0
"""Seconds before a plugin's credential expires that the next one is asked for."""


@dataclass(slots=True)
class Wallet:
    """Gives the secret to use now. Concurrent callers share one reading of the file or one run of the plugin."""

    credentials: Credentials
    clock: Clock
    _secret: Secret | None = field(default=None, repr=False)
    _until: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def renewable(self) -> bool:
        return not isinstance(self.credentials, Secret)

    async def secret(self) -> Secret:
        if isinstance(self.credentials, Secret):
            return self.credentials
        async with self._lock:
            if self._secret is None or self._now() >= self._until:
                if isinstance(self.credentials, TokenFile):
                    self._secret, self._until = await self._read(self.credentials), self._now() + REREAD
                else:
                    self._secret, self._until = await run_plugin(self.credentials)
            return self._secret

    def reject(self, secret: Secret) -> None:
        """The server refused `secret` (401): do not offer it again."""
        if self._secret is secret:
            self._secret = None

    def _now(self) -> float:
        # A plugin's expiry is a time of day; a token file only has an age.
        return self.clock.wall() if isinstance(self.credentials, ExecPlugin) else self.clock.now()

    async def _read(self, source: TokenFile) -> Secret:
        try:
            token = (await asyncio.to_thread(source.path.read_text)).strip()
        except (OSError, UnicodeDecodeError) as error:
            if self._secret is not None:
                return self._secret  # the last one may still be good; if not, the server says 401
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise LocalError(f"cannot read the token {source.path}: {why}") from None
        return Secret(token, source.certificate, source.key)


async def run_plugin(plugin: ExecPlugin) -> tuple[Secret, float]:
    """Runs the command and returns its secret and until when (Unix seconds) it is good; for ever where it does not say."""
    info: dict[str, object] = {"interactive": False}
    if plugin.cluster_info is not None:
        info["cluster"] = plugin.cluster_info
    asked = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": info}
    env = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    out = await _run(plugin, env)
    try:
        said = json.loads(out)
        status = said["status"]
        version, expiry = said["apiVersion"], status.get("expirationTimestamp")
        token, certificate, key = (status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LocalError(f"{_name(plugin)} did not print an ExecCredential with a status") from None
    if version != plugin.api_version:
        raise LocalError(f"{_name(plugin)} answered in {version!r}; the kubeconfig asks for {plugin.api_version}")
    if not all(isinstance(value, str) for value in (token, certificate, key)) or bool(certificate) != bool(key):
        raise LocalError(f"{_name(plugin)} gave a certificate without its key, a key without its certificate, or no strings")
    if not (token or certificate):
        raise LocalError(f"{_name(plugin)} gave neither a token nor a client certificate")
    until = unix(expiry) if isinstance(expiry, str) else None
    return Secret(token, certificate.encode(), key.encode()), float("inf") if until is None else until - _EARLY


async def _run(plugin: ExecPlugin, env: dict[str, str]) -> bytes:
    # A session of its own, so that it can be ended with whatever it started, which would hold our pipes open.
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        hint = f"\n{plugin.install_hint}" if plugin.install_hint else ""
        raise InvalidInput(f"{_name(plugin)} cannot be started: {error.strerror}{hint}") from None
    try:
        async with asyncio.timeout(plugin.timeout):
            out, err = await process.communicate()
    except TimeoutError:
        raise LocalError(f"{_name(plugin)} did not end within {plugin.timeout:g} s; does it wait for a login?") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        told = err.decode(errors="replace").strip()[-1000:]
        raise LocalError(f"{_name(plugin)} failed with exit code {process.returncode}" + (f": {told}" if told else ""))
    return out


def _name(plugin: ExecPlugin) -> str:
    return f"the kubeconfig's exec plugin {plugin.command!r}"
