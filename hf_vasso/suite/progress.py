"""Show how far a suite is: one line per finished run, and on a terminal a bar with the time left."""

import time

from tqdm import tqdm

__all__ = ["Progress"]


class Progress:
    """
    The live view of a suite.

    The time left is that of the passes left, at the speed of those made; when a run ends, those beside it are on
    average half done. On a terminal it stands in a bar below the lines, elsewhere in the lines.

    Args:
        runs: How many runs are to be made.
        passes: Their forward passes.
        workers: How many runs are made at a time.
    """

    def __init__(self, runs: int, passes: int, workers: int) -> None:
        self._runs = runs
        self._workers = workers
        self._finished = 0
        self._passes = passes
        self._passes_made = 0
        self._start = time.monotonic()
        self._bar = tqdm(total=runs, unit="run", disable=None, bar_format="{n_fmt}/{total_fmt} runs |{bar}| {desc}")

    def finished(self, line: str, passes: int) -> None:
        """
        Say that a run has ended.

        Args:
            line: What is said about it.
            passes: Its forward passes.
        """
        self._finished += 1
        self._passes_made += passes
        left = f"{self._time_left()} left"
        self.say(f"[{self._finished}/{self._runs}, {left}] {line}" if self._bar.disable else line)
        self._bar.set_description_str(left, refresh=False)
        self._bar.update()

    def say(self, line: str) -> None:
        """
        Say something beside.

        Args:
            line: A line.
        """
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.write(line)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _time_left(self) -> str:
        seconds = time.monotonic() - self._start
        beside = min(self._workers - 1, self._runs - self._finished)
        made = self._passes_made * (1 + beside / 2 / self._finished)
        return tqdm.format_interval(seconds * max(self._passes - made, 0) / max(made, 1))
