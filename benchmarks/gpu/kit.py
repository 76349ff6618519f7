"""A time budget, and results that survive an interruption; shared by the GPU scripts."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Kit:
    """Runs rows (measurements) in order of value and writes each result as soon as it is known.

    Args:
        path: JSON file, rewritten as a whole after each row.
        budget_s: seconds for all rows together, counted from `start`.
        start: `time.perf_counter()` at which the budget began; now by default.
    """

    def __init__(self, path: Path, *, budget_s: float, start: float | None = None) -> None:
        self.path, self.budget_s = path, budget_s
        self._start = time.perf_counter() if start is None else start
        self.results: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)

    def spent(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._start

    def left(self) -> float:
        """Return the seconds left in the budget."""
        return self.budget_s - self.spent()

    def row(self, name: str, needs_s: float, measure: Callable[[], dict[str, Any]]) -> Any:
        """Run one measurement if it still fits into the budget.

        An error is recorded with its traceback, and the next row runs.

        Args:
            name: key of the result.
            needs_s: generous estimate of the seconds it takes.
            measure: returns the result to be written.

        Returns:
            The result of `measure`; None if it was skipped or failed.
        """
        if self.left() < needs_s:
            result: dict[str, Any] = {"skipped": f"needs {needs_s:.0f} s, {self.left():.0f} left"}
            self.record(name, result)
            return None
        began = time.perf_counter()
        try:
            result = measure()
        except Exception as error:
            result = {"error": repr(error), "traceback": traceback.format_exc()}
        self.record(name, {**result, "row_s": round(time.perf_counter() - began, 2)})
        return None if "error" in result else result

    def record(self, name: str, result: dict[str, Any]) -> None:
        """Stores one result and replaces the file atomically."""
        self.results[name] = result
        text = json.dumps({"spent_s": round(self.spent(), 1), **self.results}, indent=1)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(text + "\n")
        part.replace(self.path)
        line = json.dumps({key: value for key, value in result.items() if key != "traceback"})
        print(f"[{self.spent():6.1f} s] {name}: {line[:600]}", file=sys.stderr, flush=True)
