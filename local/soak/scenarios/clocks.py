"""The function's clock is wrong."""

import asyncio

from local.soak.scenarios.scenario import COPIES, Scenario, transient, with_settings
from local.soak.stage import Stage


async def clock_step(stage: Stage) -> None:
    """The function's wall clock jumps hours ahead, then minutes back, then recovers."""
    await stage.break_face(transient(0.3))
    offset = stage.cloud.folder / "clock-offset"
    offset.write_text("0")
    await stage.add_host("local.soak.stepped_host", CLOCK_OFFSET_FILE=str(offset))
    publishing = asyncio.create_task(stage.publish(stage.plan(240), per_second=20))
    for minutes in (0, 120, -20, 3, -3, 0):
        offset.write_text(str(60 * minutes))
        await asyncio.sleep(2)
    await publishing


SCENARIOS = (
    Scenario(
        name="clock_step",
        play=clock_step,
        limit=60,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES),
        options={"hosts": 0},
    ),
)
