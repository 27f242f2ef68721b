"""aiohttp, imported without the authorities of this machine.

It makes two TLS contexts as it is imported, each with every authority of the system where OpenSSL finds them in one file: 2 MB and 40 ms of
each start, for contexts that are never used here, since `transport` brings its own. They stay as strict, and know nobody.
"""

import ssl


def _nobody(_: ssl.SSLContext) -> None:
    """In place of SSLContext.set_default_verify_paths."""


ssl.SSLContext.set_default_verify_paths = _nobody  # type: ignore[method-assign, assignment]
try:
    import aiohttp
finally:
    del ssl.SSLContext.set_default_verify_paths

__all__ = ["aiohttp"]
