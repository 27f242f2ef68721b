"""One visit to the lab, as `podvitals lab` runs it: the story, then the lab stays up until somebody ends it."""

import asyncio
import signal
from dataclasses import dataclass

from podvitals.clock import SYSTEM
from podvitals.kube.client import Client
from podvitals.lab.compose import Lab, LabSettings
from podvitals.lab.estate import Estate
from podvitals.lab.observer import Observer
from podvitals.lab.screen import Screen
from podvitals.lab.signals import ENDING
from podvitals.lab.story import POD, Story

NOT_SEEN = 1
INTERRUPTED = 130


@dataclass(slots=True)
class Visit:
    """`began`: boottime at which the process started. `once`: leave after the story."""

    estate: Estate
    settings: LabSettings
    screen: Screen
    began: float
    once: bool
    _told: bool = False

    def run(self) -> int:
        return asyncio.run(self._run())

    async def _run(self) -> int:
        lab = Lab(self.estate, self.settings, SYSTEM, self.screen.say)
        running = asyncio.create_task(lab.run(self._main), name="lab")
        loop = asyncio.get_running_loop()
        stopped: list[signal.Signals] = []

        def stop(number: signal.Signals) -> None:
            stopped.append(number)
            running.cancel()

        for number in ENDING:
            loop.add_signal_handler(number, stop, number)
        try:
            return await running
        except asyncio.CancelledError:
            if not stopped:
                raise
            # Ctrl-C is how the lab is left; in the middle of the story it is an interruption.
            return 0 if self._told else INTERRUPTED
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _main(self, lab: Lab, client: Client) -> int:
        observer = Observer(client, lab.clock)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(observer.run(), name="lab story: watch")
            unseen = await Story(lab, client, observer, self.screen, self.began).tell()
            watching.cancel()
        if self.once:
            return NOT_SEEN if unseen else 0
        self._told = True
        stays_up(self.screen, self.estate, "" if not unseen else "The story was not seen to its end, but the lab is there.")
        await asyncio.Event().wait()
        return 0


def stays_up(screen: Screen, estate: Estate, first: str = "") -> None:
    screen.line()
    if first:
        screen.say(first)
    screen.line("The lab stays up until you press Ctrl-C. In another terminal:")
    screen.line()
    screen.line(f"   {estate.shell_line()}")
    screen.line()
    for line, why in (
        ("podvitals get devices -w", "every device of the lab, as it changes"),
        (f"podvitals describe pod {POD}", "what a person on call reads"),
        ('podvitals inject gpu-3 "Unhealthy: Xid 79: GPU has fallen off the bus" --action power-cycle', "break a simulated GPU"),
        (estate.device.break_line, f"break {estate.device.device} yourself"),
        (estate.device.mend_line, "and mend it"),
        (f"kubectl get pod {POD} -o yaml", "the lab speaks to kubectl, too"),
        (f"tail -f {estate.layout.logs}/*.log", "what drivers and agent log"),
    ):
        screen.command(line, why)
    screen.line()


def _first(group: "BaseExceptionGroup[BaseException]") -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
