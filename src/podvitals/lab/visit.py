"""One visit to the lab, as `podvitals lab` runs it: the story, then the lab stays up until somebody ends it."""

import asyncio
import logging
import signal
from dataclasses import dataclass

from podvitals.agent.log import KeyValue
from podvitals.clock import SYSTEM
from podvitals.errors import PodvitalsError
from podvitals.kube.client import Client
from podvitals.lab.compose import Lab, LabSettings
from podvitals.lab.estate import Estate
from podvitals.lab.observer import Observer
from podvitals.lab.screen import Screen
from podvitals.lab.signals import ENDING
from podvitals.lab.story import GPU_POD, GPUS_MANIFEST, POD, Story

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
        # The terminal is the story's; what the parts log goes beside the logs of drivers and agent.
        aside = logging.FileHandler(self.estate.layout.logs / "lab.log")
        aside.setFormatter(KeyValue())
        logging.basicConfig(handlers=[aside], level=logging.INFO, force=True)
        try:
            return asyncio.run(self._run())
        finally:
            logging.shutdown()

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
            story = Story(lab, client, observer, self.screen, self.began)
            unseen = await story.tell()
            watching.cancel()
        if self.once:
            return NOT_SEEN if unseen else 0
        self._told = True
        if unseen:
            self.screen.say("The story was not seen to its end, but the lab is there.")
        try:
            await story.apply(GPUS_MANIFEST)
        except PodvitalsError as error:
            self.screen.trouble(f"pod {GPU_POD} could not be made: {error}")
        stays_up(self.screen, self.estate)
        await asyncio.Event().wait()
        return 0


def stays_up(screen: Screen, estate: Estate) -> None:
    device = estate.device
    screen.line()
    screen.line("The lab stays up until you press Ctrl-C. In another terminal, paste this line first:")
    screen.line()
    screen.paste(estate.shell_line())
    screen.line()
    for why, lines in (
        ("all pods, and every device as it changes", ("podvitals get pods", "podvitals get devices -w")),
        (
            f"break a simulated GPU of pod {GPU_POD}, read what a person on call reads, mend it",
            (
                'podvitals inject gpu-3 "Unhealthy: Xid 79: GPU has fallen off the bus" --action power-cycle',
                f"podvitals describe pod {GPU_POD}",
                "podvitals inject gpu-3 --clear",
            ),
        ),
        (
            f"break {device.device} yourself, and mend it",
            (device.break_line, f"podvitals describe pod {POD}", device.mend_line),
        ),
        ("kubectl works as well", (f"kubectl logs {POD} --previous", "kubectl get pods,resourceclaims,resourceslices")),
        ("what the lab, its drivers and its agent log", (f"tail -f {estate.layout.logs}/*.log",)),
    ):
        screen.paste(f"# {why}", *lines)
        screen.line()


def _first(group: "BaseExceptionGroup[BaseException]") -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
