"""Ctrl+C and SIGTERM during training: the step is finished, a checkpoint kept, then it ends."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
# Seconds in which a second Ctrl+C is the same one: a launcher of several processes passes on what
# the terminal has sent to each of them.
SAME = 1.0


@dataclass
class Stop:
    """What was asked for.

    Attributes:
        number: the signal, 0 while there was none.
        at: when it came.
    """

    number: int = 0
    at: float = 0.0

    def again(self) -> None:
        """Do what the signal would have done at once, and in any case raise KeyboardInterrupt."""
        signal.raise_signal(self.number)
        raise KeyboardInterrupt


@contextmanager
def stopped_later(message: str) -> Iterator[Stop]:
    """Inside the block a signal to stop is noted, with a logged ``message``; a second Ctrl+C stops.

    Where signals cannot be caught, in a thread, they are left as they are.
    """
    stop = Stop()
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        now = time.monotonic()
        if stop.number and number == signal.SIGINT and now - stop.at > SAME:
            restore()
            raise KeyboardInterrupt
        if not stop.number:
            stop.number, stop.at = number, now
            log.warning(message)

    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


def checkpoints_of(stop: Stop, mark: Callable[[int], None], runner: Any) -> Any:
    """A callback of the Trainer: stops after a step, marks checkpoints, refuses a loss of NaN.

    Args:
        stop: from :func:`stopped_later`.
        mark: called with the step of each checkpoint that is whole.
        runner: the Trainer.
    """
    import torch
    from transformers import TrainerCallback

    def asked() -> bool:
        """Whether any of the processes was told to stop, which they agree on after each step."""
        if runner.accelerator.num_processes > 1:
            mine = torch.tensor([stop.number], device=runner.accelerator.device)
            stop.number = int(runner.accelerator.gather(mine).max())
        return bool(stop.number)

    class Checkpoints(TrainerCallback):  # type: ignore[misc]
        """See above."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            """Keep a checkpoint and stop, if that was asked for."""
            if asked():
                control.should_save = control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            """Mark the checkpoint, which every process has written by now."""
            runner.accelerator.wait_for_everyone()
            if state.is_world_process_zero:
                mark(state.global_step)

    return Checkpoints()
