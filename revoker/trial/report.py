"""Asks the questions one after the other, and writes the report."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from revoker.doctor.runner import Result, State, run
from revoker.failure import first_line
from revoker.text import visible
from revoker.trial.questions import Question
from revoker.trial.stage import CLEAN_SECONDS, LIMIT, Stage

_WORDS = {State.OK: "passed", State.FAILED: "failed", State.SKIPPED: "not asked"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question."""

    question: str
    result: Result
    seconds: float
    evidence: Sequence[str]

    @property
    def state(self) -> str:
        """Passed, failed or not asked."""
        return _WORDS[self.result.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a trial found. `left` says what it could not remove."""

    began: datetime
    namespace: str
    queue: str
    face_endpoint: str
    face_api_version: str
    answers: Sequence[Answer]
    left: Sequence[str]
    interrupted: bool

    @property
    def conclusion(self) -> str:
        """The counts, in one line."""
        count = Counter(each.state for each in self.answers)
        return ", ".join(f"{count[word]} {word}" for word in _WORDS.values())

    def states(self, state: State) -> list[str]:
        """Return the names of the questions that ended so."""
        return [each.result.name for each in self.answers if each.result.state is state]

    def markdown(self) -> str:
        """Return the report for people."""
        lines = [
            f"# Trial of {self.began:%Y-%m-%d %H:%M}Z: {self.conclusion}\n",
            f"Queue `{self.queue}` in `{self.namespace}`; `{self.face_endpoint}` with "
            f"`FACE_API_VERSION={self.face_api_version}`.\n",
        ]
        remedies = dict.fromkeys(each.result.remedy for each in self.answers if each.result.remedy)
        lines += [f"> **{_cell(each)}**\n" for each in remedies]
        lines += ["| | question | answer | seconds |", "|---|---|---|---|"]
        lines += [
            f"| {each.state} | **{each.result.name}**: {each.question} "
            f"| {_cell(each.result.detail)} | {each.seconds} |"
            for each in self.answers
        ]
        lines += ["\n## Left behind\n"] if self.left else []
        lines += [f"- {_cell(each)}" for each in self.left]
        for each in self.answers:
            lines += [f"\n## Evidence: {each.result.name}\n"] if each.evidence else []
            lines += [f"- {_cell(one)}" for one in each.evidence]
        return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return visible(text).replace("|", "\\|")


async def play(
    stage: Stage,
    questions: Sequence[Question],
    record: Path,
    tell: Callable[[Answer], None] = lambda _: None,
) -> Report:
    """Ask every question, and clean up, also after Ctrl-C.

    Args:
        stage: what is asked.
        questions: in their order.
        record: gets a line for each dead letter that is discarded.
        tell: called with each answer.
    """
    began, answers, why, interrupted = datetime.now(UTC), list[Answer](), "", False
    try:
        async with asyncio.timeout(LIMIT.total_seconds() - CLEAN_SECONDS):
            for question in questions:
                answers.append(await _ask(stage, question, answers))
                tell(answers[-1])
    except TimeoutError:
        why = "the time was over"
    except asyncio.CancelledError:
        why, interrupted = "the trial was interrupted", True
    for question in questions[len(answers) :]:
        result = Result(question.name, State.SKIPPED, why)
        answers.append(Answer(question.text, result, 0.0, ()))
    return Report(
        began=began,
        namespace=stage.address.where,
        queue=stage.address.queue,
        face_endpoint=stage.endpoint,
        face_api_version=stage.version,
        answers=answers,
        left=await stage.clean(record),
        interrupted=interrupted,
    )


async def _ask(stage: Stage, question: Question, before: Sequence[Answer]) -> Answer:
    stage.evidence = []
    began = time.monotonic()
    passed = {each.result.name: each.result.state is State.OK for each in before}
    if unmet := [each for each in question.needs if not passed.get(each, True)]:
        result = Result(question.name, State.SKIPPED, f"it needs '{unmet[0]}' to pass")
    else:
        try:
            [result] = await run([replace(question, needs=())])
        except ExceptionGroup as group:  # unforeseen; the cleaning and the report must follow
            error = group.exceptions[0]
            text = f"{type(error).__name__}: {first_line(error)}"
            result = Result(question.name, State.FAILED, text, "Report this as a bug of the trial.")
    seconds = round(time.monotonic() - began, 1)
    return Answer(question.text, result, seconds, tuple(stage.evidence))
