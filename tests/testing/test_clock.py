import asyncio

import pytest

from podvitals.testing import Gate, ManualClock


async def test_sleepers_wake_in_the_order_of_their_deadlines_each_at_its_own_time() -> None:
    clock = ManualClock(now=100.0, wall=5000.0)
    woken: list[tuple[str, float, float]] = []

    async def sleeper(name: str, *delays: float) -> None:
        for delay in delays:
            await clock.sleep_until(clock.now() + delay)
            woken.append((name, clock.now(), clock.wall()))

    tasks = [asyncio.create_task(sleeper("slow", 7)), asyncio.create_task(sleeper("often", 2, 2, 2, 2))]
    await clock.slept_on(2)
    await clock.advance(7)
    assert woken == [("often", 102, 5002), ("often", 104, 5004), ("often", 106, 5006), ("slow", 107, 5007)]
    assert list(clock.sleepers) == [108]
    await clock.advance(1)
    await asyncio.gather(*tasks)
    assert clock.now() == 108


async def test_time_stands_still_by_itself_and_the_wall_may_jump() -> None:
    clock = ManualClock(now=0.0, wall=1000.0)
    clock.set_wall(10.0)
    await clock.advance(1.5)
    assert (clock.now(), clock.wall()) == (1.5, 11.5)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep_until(clock.now() + 1))
    await clock.slept_on()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == ()
    with pytest.raises(AssertionError, match="0 tasks sleep on the clock"):
        await clock.slept_on(timeout=0.01)


async def test_a_closed_gate_holds_whoever_comes() -> None:
    gate = Gate()
    await gate.passing()
    gate.close()
    with pytest.raises(AssertionError, match="nobody came"):
        await gate.reached(timeout=0.01)
    task = asyncio.create_task(gate.passing())
    await gate.reached()
    assert gate.waiting == 1
    gate.open()
    await task
    assert gate.waiting == 0
