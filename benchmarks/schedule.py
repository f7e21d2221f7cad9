"""Parts that share the time there is, and the book that keeps their answers from one start to the next.

A part is a list of questions. Each answer is written at once, into one JSON file that is always whole; a second start
asks what has no answer yet. An answer with the key "error" failed, one with "unfinished" is to go on in the next start.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pretext.core.files import write_json

Answer = dict[str, Any]
ERROR, UNFINISHED = "error", "unfinished"
DONE, FAILED, WAITS = "done", "failed", "waits"
"""States of a part: all is answered; something failed; something is still to be asked."""


class Clock(NamedTuple):
    """When something has to end."""

    end: float
    now: Callable[[], float] = time.monotonic

    def left(self) -> float:
        """How many seconds there still are."""
        return self.end - self.now()


class Question(NamedTuple):
    """One thing that is asked."""

    name: str
    ask: Callable[[Clock, Answer], Answer]
    """Gets the time that it has, and what an earlier start left unfinished."""
    least: float = 1.0
    """Seconds that it takes at least; with fewer left it is not begun."""


class Part(NamedTuple):
    """Questions of one kind."""

    name: str
    about: str
    share: float
    """Of the time, beside the shares of the other parts that are still to be done."""
    questions: Callable[[], Iterable[Question]]
    table: Callable[[dict[str, Answer]], list[str]]
    """Lays the answers out as lines of Markdown."""
    ordered: bool = False
    """A question needs the answers of those before it."""
    on_demand: bool = False
    """Asked only where it is named."""


class Book:
    """The answers, in a file that is written whole after each.

    Args:
        file: the JSON file, read if it is there.
        facts: of this start; those under "about" must be what they were, such as the device.

    Raises:
        ValueError: the file is of another device, or of a dry run where this is none.

    """

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        self.file = file
        self.content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        before = self.content.setdefault("about", facts["about"])
        if different := [key for key, value in facts["about"].items() if before.get(key) != value]:
            told = ", ".join(f"{key} {before.get(key)!r}, now {facts['about'][key]!r}" for key in different)
            raise ValueError(f"{file} was made with {told}; choose another folder with --out")
        starts = self.content.setdefault("starts", [])
        if not (facts.get("again") and starts):
            starts.append(facts["start"])
        self.content.setdefault("parts", {})
        self.number = len(starts)
        self.write()

    def write(self) -> None:
        """Write the file."""
        write_json(self.file, self.content)

    def answers(self, part: str) -> dict[str, Answer]:
        """Give the answers of a part so far, by the names of the questions."""
        answers: dict[str, Answer] = self.content["parts"].setdefault(part, {"answers": {}})["answers"]
        return answers

    def note(self, part: str, question: str, answer: Answer) -> None:
        """Keep an answer."""
        self.answers(part)[question] = {**answer, "start": self.number}
        self.write()

    def open(self, part: str, question: str) -> bool:
        """Tell whether a question is to be asked: not answered, unfinished, or failed in an earlier start."""
        answer = self.answers(part).get(question)
        if answer is None or UNFINISHED in answer:
            return True
        return ERROR in answer and answer["start"] != self.number

    def close(self, part: Part, state: str, seconds: float) -> None:
        """Keep how a part ended, and how long it took."""
        kept = self.content["parts"][part.name]
        kept.update(about=part.about, state=state, seconds=round(kept.get("seconds", 0.0) + seconds, 1))
        self.write()

    def state(self, part: str) -> str | None:
        """How a part ended in the last start that asked it; None if none did."""
        state: str | None = self.content["parts"].get(part, {}).get("state")
        return state


def work(
    parts: Sequence[Part],
    book: Book,
    clock: Clock,
    say: Callable[[str], None] = print,
    after_error: Callable[[], None] = lambda: None,
) -> None:
    """Ask all parts what they have not answered yet, each within its share of the time that is left when it begins.

    `after_error` is called after a question that failed; it may begin anew with a process that is whole.
    """
    todo = [part for part in parts if not _is_done(part, book, say)]
    for place, part in enumerate(todo):
        shares = sum(later.share for later in todo[place:])
        began = clock.now()
        mine = Clock(began + max(clock.left(), 0.0) * part.share / shares, clock.now)
        say(f"== {part.name}: {part.about} ({mine.left():.0f} s of {clock.left():.0f})")
        _ask(part, book, mine, say, after_error)
        state = _state(part, book)
        book.close(part, state, clock.now() - began)
        say(f"== {part.name}: {state} after {clock.now() - began:.1f} s")


def _is_done(part: Part, book: Book, say: Callable[[str], None]) -> bool:
    done = book.state(part.name) == DONE
    if done:
        say(f"== {part.name}: done in an earlier start")
    return done


def _ask(part: Part, book: Book, clock: Clock, say: Callable[[str], None], after_error: Callable[[], None]) -> None:
    waiting = [question for question in part.questions() if book.open(part.name, question.name)]
    for place, question in enumerate(waiting):
        if clock.left() < question.least:
            rest, time_left = len(waiting) - place, f"{clock.left():.0f} s left, {question.least:.0f} wanted"
            say(f"   {part.name}: {question.name} skipped, time is short ({time_left}); {rest} not asked")
            return
        answer = _answered(question, book.answers(part.name).get(question.name, {}), clock)
        book.note(part.name, question.name, answer)
        say(f"   {part.name}: {question.name}: {told(answer)}")
        if ERROR in answer:
            after_error()
        if part.ordered and (ERROR in answer or UNFINISHED in answer):
            return


def _answered(question: Question, before: Answer, clock: Clock) -> Answer:
    """Ask; whatever goes wrong is the answer."""
    began = clock.now()
    kept = {} if ERROR in before else {key: value for key, value in before.items() if key not in ("start", UNFINISHED)}
    try:
        answer = question.ask(clock, kept)
    except Exception as error:  # one part that fails must not take the others with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:500]
        return {ERROR: f"{type(error).__name__}: {text} ({Path(where.filename).name}:{where.lineno})"}
    return {**answer, "seconds": round(clock.now() - began, 2)}


def _state(part: Part, book: Book) -> str:
    answers = book.answers(part.name)
    names = [question.name for question in part.questions()]
    if any(ERROR in answers.get(name, {}) for name in names):
        return FAILED
    return DONE if all(name in answers and UNFINISHED not in answers[name] for name in names) else WAITS


def pages(parts: Sequence[Part], book: Book) -> list[str]:
    """Write the tables of all parts as lines of Markdown; what was not asked is said."""
    lines = []
    for part in parts:
        answers, state = book.answers(part.name), book.state(part.name)
        if part.on_demand and not answers:
            continue
        lines += ["", f"### {part.about[0].upper()}{part.about[1:]}", ""]
        lines += (
            [*part.table(answers), *([] if state == DONE else _still_open(part, book))] if answers else ["Not run."]
        )
    return lines


def _still_open(part: Part, book: Book) -> list[str]:
    """Say what failed and what is still to be asked."""
    answers = book.answers(part.name)
    failed = [f"{name} ({answer[ERROR]})" for name, answer in answers.items() if ERROR in answer]
    names = [question.name for question in part.questions()]
    waits = [name for name in names if name not in answers or UNFINISHED in answers[name]]
    lines = [f"Failed: {'; '.join(failed)}."] if failed else []
    lines += [f"Not finished: {', '.join(waits)}."] if waits else []
    return ["", *lines] if lines else []


def told(answer: Answer) -> str:
    """Write an answer in a line."""
    if ERROR in answer:
        return f"FAILED {answer[ERROR]}"
    return ", ".join(f"{key} {_short(value)}" for key, value in answer.items() if key != "start")


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"{len(value)} values"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
