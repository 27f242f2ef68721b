"""How a process of podvitals that serves until it is told to end, ends."""

import asyncio
import signal


async def until_told(task: "asyncio.Task[None]") -> None:
    """Until SIGTERM, or SIGINT, which comes out as KeyboardInterrupt; an error of the task's comes out as itself, in no group."""
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
        if received[0] is signal.SIGINT:
            raise KeyboardInterrupt from None
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _first(group: "BaseExceptionGroup[BaseException]") -> BaseException:
    """What ended it: of several, the first, which the others followed from."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
