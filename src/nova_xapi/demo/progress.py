# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Shows what `demo up` is at: a live table on a terminal, plain lines elsewhere. Always on standard error,
so that standard output holds results only."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


@dataclass
class Line:
    """One job: `seconds` is None while it runs."""

    title: str
    began: float
    note: str = ""
    seconds: float | None = None
    failed: bool = False
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))


class Progress:
    """Plain lines: one when a job begins, one when it ends. Thread-safe."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.began = time.monotonic()
        self.lines: dict[str, Line] = {}
        self.lock = threading.RLock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def elapsed(self) -> float:
        """Seconds since this display was made."""
        return time.monotonic() - self.began

    def start(self, name: str, title: str) -> None:
        with self.lock:
            self.lines[name] = Line(title, time.monotonic())
            self.changed(name, "begins")

    def note(self, name: str, text: str) -> None:
        with self.lock:
            self.lines[name].note = text
            self.changed(name, "")

    def done(self, name: str, summary: str = "") -> float:
        """Mark as done; the seconds it took."""
        with self.lock:
            line = self.lines[name]
            line.seconds = time.monotonic() - line.began
            line.note = summary
            self.changed(name, "done")
            return line.seconds

    def fail(self, name: str) -> None:
        with self.lock:
            line = self.lines[name]
            line.seconds = time.monotonic() - line.began
            line.failed = True
            self.changed(name, "FAILED")

    def changed(self, name: str, what: str) -> None:
        """A job's line changed: print it when it begins or ends."""
        line = self.lines[name]
        if what == "done":
            text = f"{line.title}: done in {line.seconds:.1f} s" + (f" ({line.note})" if line.note else "")
        elif what:
            text = f"{line.title}: {what}" if what == "FAILED" else f"{line.title} ..."
        else:
            return
        self.console.print(f"[{self.elapsed:6.1f}s] {text}", markup=False, highlight=False, soft_wrap=True)


class LiveProgress(Progress):
    """The same as a live display: running jobs with a spinner, the finished ones above."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self.live = Live(
            console=self.console, get_renderable=self.render, refresh_per_second=8, transient=False, screen=False
        )

    def __enter__(self) -> LiveProgress:
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def changed(self, name: str, what: str) -> None:
        """The live display draws itself."""

    def render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(style="dim", overflow="ellipsis", no_wrap=True)
        with self.lock:
            for line in self.lines.values():
                mark: RenderableType
                if line.seconds is None:
                    mark, seconds = line.spinner, time.monotonic() - line.began
                else:
                    mark = Text("✗", style="bold red") if line.failed else Text("✓", style="green")
                    seconds = line.seconds
                table.add_row(mark, line.title, f"{seconds:.1f} s", line.note)
        return Group(table, Text(f"{self.elapsed:6.1f} s", style="bold"))


def progress() -> Progress:
    """The display that suits standard error."""
    return LiveProgress() if sys.stderr.isatty() else Progress()
