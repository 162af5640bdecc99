"""Background work of a widget, with progress, cancelling and visible errors.

A widget's callback only starts a job. The job runs in a thread, so that the kernel stays
responsive; a cancelled job ends at its next torch operation. A notebook cell run meanwhile waits
for the job, because hooks on a model would act on the cell's passes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import html
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anywidget
import ipywidgets as w
import traitlets as t
from torch.overrides import TorchFunctionMode

from airlens.errors import AirlensError
from airlens.model.state import state_of
from airlens.views.figures.labels import clean

from .view_scripts import script, stylesheet

T = TypeVar("T")
QUIET = 0.4  # seconds; only longer work shows a progress bar
POLL = 0.05


class Cancelled(Exception):
    """Raised inside a job that was cancelled."""


@dataclass(frozen=True)
class Took:
    """What a piece of work took: operations of torch, and seconds."""

    operations: int
    seconds: float


class Job:
    """One piece of work: its function, its progress and its result.

    ``known`` is what the same work took before, None the first time.
    """

    def __init__(
        self,
        model: Any,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        dropped: Callable[[], None],
        known: Took | None,
        meanwhile: Callable[[], None],
    ) -> None:
        self.model = model
        self.work = work
        self.done = done
        self.dropped = dropped
        self.known = known
        self.meanwhile = meanwhile
        self.operations = 0
        self.seconds = 0.0
        self.value: Any = None
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self.over = threading.Event()
        self.started = False
        self.settled = False

    def share(self, passed: float) -> float:
        """How much of the expected work is done after so many seconds, in [0, 1].

        Operations are not equally long, and a longer text than the last one has longer ones: where
        their count stands still, time moves the bar on, ever slower.
        """
        if not self.known:
            return 0.0
        counted = min(1.0, self.operations / self.known.operations)
        return max(counted, 1.0 - math.exp(-passed / max(self.known.seconds, QUIET)))

    def tick(self) -> None:
        """Count an operation; raise if the job was cancelled."""
        if self.stop.is_set():
            raise Cancelled
        self.operations += 1

    def run(self) -> None:
        """Do the work; jobs on the same model run one at a time."""
        self.started = True
        begun = time.monotonic()
        try:
            with _turn(self.model), _Watch(self.tick):
                begun = time.monotonic()
                self.tick()
                self.value = self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.seconds = time.monotonic() - begun
            self.over.set()


class _Watch(TorchFunctionMode):  # type: ignore[misc]
    """Calls ``tick`` before every operation of torch in this thread.

    Not a hook on the model, because hooks would rule out the fast engine.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        super().__init__()
        self.tick = tick

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.tick()
        return func(*args, **(kwargs or {}))


def _turn(model: Any) -> contextlib.AbstractContextManager[Any]:
    """A lock of the model, so that two explorers of it take turns."""
    return contextlib.nullcontext() if model is None else state_of(model).turn()


class CancelButton(anywidget.AnyWidget):  # type: ignore[misc]
    """Cancels a job, also while a cell waits for it: then the page interrupts the kernel."""

    _esm = script("cancel")
    _css = stylesheet()
    waiting = t.Bool(False).tag(sync=True)
    pressed = t.Int(0).tag(sync=True)

    def click(self) -> None:
        """What a person does."""
        self.pressed += 1


class Worker(w.VBox):  # type: ignore[misc]
    """Runs one job at a time; a new job cancels the one before.

    Without a running event loop (a script, a test) a job runs before ``start`` returns.

    Args:
        model: the bridge that the jobs use, or None; another one is used by the jobs after it.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model
        self.job: Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._settling = threading.Lock()
        self._known: dict[tuple[str, int], Took] = {}
        self._repeat: Callable[[], None] = lambda: None
        self._key = ("", 0)
        self.what = ""
        self.ended: list[Callable[[], None]] = []  # called after each job
        self.bar = w.FloatProgress(min=0, max=1, description="", layout={"width": "220px"})
        self.cancel = CancelButton(layout={"width": "80px"})
        self.cancel.observe(lambda _: self.stop(), "pressed")
        hidden = {"width": "80px", "flex": "none", "display": "none"}
        self.again = w.Button(description="again", layout=hidden)
        self.again.on_click(lambda _: self._repeat())
        self.text = w.HTML()
        self.note = w.HTML()
        self._refusal = ""
        self._line = w.HBox([self.bar, self.cancel, self.text])
        self._line.layout.display = "none"
        told = w.HBox([self.note, self.again])
        super().__init__([self._line, told], layout={"overflow": "hidden"})
        _wait_before_cells(self)

    def start(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        *,
        dropped: Callable[[], None] = lambda: None,
        what: str = "working",
        size: int = 1,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Run ``work()`` in the background, then ``done(its result)`` in the kernel's own thread.

        Args:
            work: must not touch widgets.
            done: called with what ``work`` returned, unless it was cancelled or failed.
            dropped: called instead of ``done``, unless a newer job was started.
            what: shown beside the progress bar.
            meanwhile: called again and again in the kernel's own thread while the work runs.
            size: earlier work of the same function and size tells how long this will take.
        """
        self.stop()
        self._repeat = functools.partial(
            self.start, work, done, dropped=dropped, what=what, size=size, meanwhile=meanwhile
        )
        self._key = (work.__qualname__, size)
        known = self._known.get(self._key)
        self.job = job = Job(self.model, work, done, dropped, known, meanwhile)
        self._refusal = ""
        self.show("")
        self.again.layout.display = "none"
        self.bar.value = 0.0
        self.what = what
        self.text.value = html.escape(what)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            job.run()
            self._settle(job)
            if isinstance(job.error, KeyboardInterrupt):  # it is the caller's own thread
                raise job.error from None
            return
        self._task = loop.create_task(self._drive(job))

    def stop(self) -> None:
        """Ask the running job to end; its result is dropped."""
        if self.job is not None and not self.job.settled:
            self.job.stop.set()

    def drop(self) -> None:
        """End the running job, whose result is no longer wanted, without a word."""
        self.stop()
        self.job = None
        self._line.layout.display = self.again.layout.display = "none"
        self.show("")

    async def _drive(self, job: Job) -> None:
        if not job.started:
            job.started = True
            threading.Thread(target=job.run, daemon=True).start()
        begun = time.monotonic()
        while not job.over.is_set():
            await asyncio.sleep(POLL)
            self._progress(job, time.monotonic() - begun)
        self._settle(job)

    def _progress(self, job: Job, passed: float) -> None:
        """Show the progress of a job that takes longer than `QUIET`."""
        if job is not self.job or job.over.is_set():
            return
        job.meanwhile()
        if passed <= QUIET:
            return
        self._line.layout.display = ""
        self.bar.layout.display = "" if job.known else "none"
        self.bar.value = max(self.bar.value, job.share(passed))
        self.text.value = html.escape(f"{self.what}, {passed:.0f} s")

    def wait(self) -> None:
        """Wait until the last job, and what it starts here, is over; an interrupt cancels it."""
        while (job := self.job) is not None and not job.settled:
            self._wait_for(job)

    def _wait_for(self, job: Job) -> None:
        begun = time.monotonic()
        self.cancel.waiting = True
        try:
            if not job.started:
                job.started = True
                threading.Thread(target=job.run, daemon=True).start()
            while not job.over.wait(0.2):
                self._progress(job, time.monotonic() - begun)
        except KeyboardInterrupt:
            job.stop.set()
            job.over.wait(30)
        finally:
            self.cancel.waiting = False
        self._settle(job)

    def _settle(self, job: Job) -> None:
        """Show the result or the error of a job, once; a waiting cell is in another thread."""
        with self._settling:
            if job.settled:
                return
            job.settled = True
        if job is not self.job:
            return
        self._line.layout.display = "none"
        if job.error is not None:
            self.again.layout.display = ""
            job.dropped()
            if isinstance(job.error, Cancelled | KeyboardInterrupt):
                self.show("cancelled")
            else:
                self.fail(job.error)
        else:
            self._known[self._key] = Took(max(job.operations, 1), job.seconds)
            try:
                job.done(job.value)
            except Exception as error:
                self.fail(error)
        for call in self.ended:
            call()

    def show(self, text: str) -> None:
        """Show a line of plain text, or none."""
        self.note.value = f'<span style="opacity:.75">{html.escape(text)}</span>' if text else ""

    def fail(self, error: BaseException) -> None:
        """Show an error."""
        known = isinstance(error, AirlensError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        self.note.value = (
            '<div role="alert" style="border-left:3px solid #D55E00;padding:2px 8px;'
            f'line-height:1.4;white-space:pre-wrap">{html.escape(clean(text))}</div>'
        )

    def refuse(self, error: BaseException) -> None:
        """Show why what a user asked for is not done."""
        self.fail(error)
        self._refusal = self.note.value

    def nothing_to_do(self) -> None:
        """Take a refusal back: what is shown was asked for again, and no work does it."""
        if self.note.value == self._refusal:
            self.show("")


def settled(worker: Worker) -> bool:
    """Whether the last job of a worker is over, also where none was ever started."""
    return worker.job is None or worker.job.settled


def _wait_before_cells(worker: Worker) -> None:
    """Make each notebook cell wait until the worker has finished with the model."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None:
        return
    known = weakref.ref(worker)

    def wait(*_: Any) -> None:
        living = known()
        if living is None:
            with contextlib.suppress(ValueError):
                shell.events.unregister("pre_run_cell", wait)
        else:
            living.wait()

    shell.events.register("pre_run_cell", wait)


def guarded(worker: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a callback: its exceptions are shown by the explorer's worker of that name."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def run(self: Any, *arguments: Any) -> None:
            try:
                method(self, *arguments)
            except Exception as error:
                getattr(self, worker).refuse(error)

        return run

    return decorate
