"""Asking an agent or a relay of this machine over its socket, without an HTTP library: a liveness probe does it each half minute."""

import asyncio


async def state_at(path: str) -> bytes:
    """What GET /state answers there. OSError where nobody answers, or something else."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"GET /state HTTP/1.1\r\nHost: podvitals\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    first = head.split(b"\r\n", 1)[0].decode("latin-1")
    if " 200 " not in first:
        raise ConnectionError(f"it answered {first!r}")
    return body
