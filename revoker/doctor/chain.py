"""The whole chain of checks, from the settings to the clock."""

from collections.abc import Callable, Mapping

from delete_session.settings import Settings, SettingsError
from revoker.doctor import face, service_bus
from revoker.doctor.runner import Check, Result, run
from revoker.failure import Exit, Failure


async def examine(
    environment: Mapping[str, str], ended: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Check everything that can be checked with these settings.

    Args:
        environment: the settings.
        ended: called with each result as soon as the check ends.
    """

    async def settings() -> str:
        return _settings(environment)

    return await run(
        [
            Check("settings", (), settings),
            *service_bus.checks(environment),
            *face.checks(environment),
        ],
        ended,
    )


def _settings(environment: Mapping[str, str]) -> str:
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        raise Failure(
            "; ".join(error.problems),
            "Correct them in the app's settings (infra/ sets them all) or in your shell.",
            Exit.USAGE,
        ) from None
    final = ", ".join(sorted(settings.face_codes_not_retryable))
    return f"all are present and valid; given up at once: {final}, and malformed messages"
