"""When a container that ended may start again: the kubelet's back-off. Pure.

The shape is upstream's (client-go `flowcontrol.Backoff` as the kubelet uses it): the first restart comes at once, the next waits `base`,
each further one twice as long up to `cap`, counted from the moment the container ended; a run of at least `reset` seconds starts over.
"""

from dataclasses import dataclass

from podvitals.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class BackoffSettings:
    """Seconds. Upstream's are 10, 300 and 600; the lab waits less, because a person is watching."""

    base: float = 1.0
    cap: float = 10.0
    reset: float = 600.0

    @classmethod
    def parse(cls, text: str) -> "BackoffSettings":
        """`BASE:CAP` or `BASE` in seconds, or `upstream` for 10:300."""
        if text == "upstream":
            return cls(10.0, 300.0)
        base, colon, cap = text.partition(":")
        try:
            settings = cls(float(base), float(cap) if colon else max(float(base), cls().cap))
        except ValueError:
            raise InvalidInput(f"back-off {text!r} is not BASE:CAP in seconds, such as 1:10, or 'upstream'") from None
        if not 0 < settings.base <= settings.cap <= 3600:
            raise InvalidInput(f"back-off {text!r}: BASE must be more than 0, and CAP from BASE to 3600 seconds")
        return settings


@dataclass(frozen=True, slots=True)
class Backoff:
    """One container's: `delay` is what its next end will cost, 0 while it has never been restarted; `granted` is when it last might
    start."""

    delay: float = 0.0
    granted: float = 0.0

    def wait(self, settings: BackoffSettings, ended: float) -> float:
        """Seconds to wait, from `ended`, before the next start."""
        return 0.0 if self._over(settings, ended) else self.delay

    def next(self, settings: BackoffSettings, ended: float, now: float) -> "Backoff":
        """The state after the restart that is granted `now` for an end at `ended`."""
        if self.delay == 0 or self._over(settings, ended):
            return Backoff(settings.base, now)
        return Backoff(min(self.delay * 2, settings.cap), now)

    def _over(self, settings: BackoffSettings, ended: float) -> bool:
        return ended - self.granted > settings.reset
