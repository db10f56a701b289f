"""The live line of a run: step, loss, tokens per second, time to go, alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressView(Protocol):
    """Where a run tells how it goes."""

    def start(self, done: int, steps: int) -> None:
        """The run starts with `done` of `steps` steps behind it."""

    def step(self, line: dict[str, Any]) -> None:
        """A step is committed; `line` is what `metrics.jsonl` got."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""

    def stop(self) -> None:
        """The run is over."""


class SilentView:
    """Shows nothing."""

    def start(self, done: int, steps: int) -> None: ...

    def step(self, line: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...


class Views:
    """Several views as one.

    Args:
        views: told in this order.
    """

    def __init__(self, views: Sequence[ProgressView]) -> None:
        self._views = tuple(views)

    def start(self, done: int, steps: int) -> None:
        for view in self._views:
            view.start(done, steps)

    def step(self, line: dict[str, Any]) -> None:
        for view in self._views:
            view.step(line)

    def note(self, text: str) -> None:
        for view in self._views:
            view.note(text)

    def stop(self) -> None:
        """Stop each of them, even where one cannot."""
        with ExitStack() as stack:
            for view in self._views:
                stack.callback(view.stop)


class LineView:
    """One plain line now and then, for logs and pipes.

    Args:
        console: where to write.
        lines: about how many step lines to write over the whole run.
    """

    def __init__(self, console: Console, lines: int = 12) -> None:
        self._console = console
        self._lines = lines
        self._steps = 1

    def start(self, done: int, steps: int) -> None:
        self._steps = steps
        self._console.print(f"step {done} of {steps}", highlight=False)

    def step(self, line: dict[str, Any]) -> None:
        done = line["step"] + 1
        if done in (1, self._steps) or done % max(1, self._steps // self._lines) == 0 or "eval_perplexity" in line:
            left_s = (self._steps - done) * line["seconds"]
            self._console.print(
                f"step {done}/{self._steps}  {describe_step(line)}  {left_s:,.0f} s left", highlight=False
            )

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def stop(self) -> None: ...


class LiveView:
    """A bar that stays on its line, for terminals.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
        )
        self._task = TaskID(0)

    def start(self, done: int, steps: int) -> None:
        self._task = self._bar.add_task("training", total=steps, completed=done, figures="")
        self._bar.start()

    def step(self, line: dict[str, Any]) -> None:
        if "eval_perplexity" in line:
            self.note(f"step {line['step'] + 1}  {describe_step(line)}")
        self._bar.update(self._task, completed=line["step"] + 1, figures=describe_step(line), refresh=True)

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False)

    def stop(self) -> None:
        self._bar.stop()


def choose_view(console: Console, *, quiet: bool) -> ProgressView:
    """The view that fits where the output goes."""
    if quiet:
        return SilentView()
    return LiveView(console) if console.is_terminal else LineView(console)


@contextmanager
def progress_bar(console: Console, title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that is counted; yields what to call with the amount done and the whole."""
    bar = Progress(
        TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, disable=quiet
    )
    with bar:
        task = bar.add_task(title)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


def describe_step(line: dict[str, Any]) -> str:
    """A step's figures in a few words."""
    text = f"loss {line['loss']:.3f}  {line['tokens_per_second']:,.0f} tokens/s  alerts {line['alerts']}"
    return f"{text}  perplexity {line['eval_perplexity']:.1f}" if "eval_perplexity" in line else text
