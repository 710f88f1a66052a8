"""The table: a line as soon as something was played, a file at the end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hack.crash.scene import Outcome

HEAD = f"{'story':<20} {'point':<44} {'moment':<8} {'action':<6} {'hits':>4} {'s':>6}  outcome"


class Book:
    """Collects outcomes; prints each; writes ``table.txt`` and ``outcomes.json``. Safe for several threads."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._notes: list[str] = []
        self._complaints: list[str] = []
        print(HEAD, flush=True)

    @property
    def failed(self) -> bool:
        return bool(self._complaints) or any(outcome.wrong for outcome in self._outcomes)

    def add(self, outcome: Outcome, history: Callable[[], Any] | None = None) -> None:
        """One more line. What went wrong is written down with all that the observer saw."""
        with self._lock:
            self._outcomes.append(outcome)
            print(line(outcome), flush=True)
            if outcome.wrong and history is not None:
                path = self._directory / f"wrong-{len(self._outcomes)}.json"
                path.write_text(json.dumps({"outcome": asdict(outcome), "history": history()}, indent=1))

    def complaints(self, found: Iterable[str]) -> None:
        """Things wrong with a replica as a process."""
        for text in found:
            self._complaints.append(text)
            print(f"COMPLAINT {text}", flush=True)

    def audit(self, events: Iterable[dict[str, Any]]) -> None:
        """What the API server's audit log says of the controllers: refusals, and how the guarded writes went."""
        answers: Counter[tuple[str, int]] = Counter()
        for event in events:
            if not event["user"]["username"].endswith(":workflowexecution-controller"):
                continue
            ref = event.get("objectRef", {})
            what = "/".join(x for x in (event["verb"], ref.get("resource"), ref.get("subresource")) if x)
            code = event.get("responseStatus", {}).get("code", 0)
            if event["verb"] not in ("get", "list", "watch"):
                answers[what, code] += 1
            if code == 403 and "being terminated" not in str(event["responseStatus"]):
                self.complaints([f"403: {what} {ref.get('namespace')}/{ref.get('name')}"])
        for (what, code), count in sorted(answers.items()):
            self._notes.append(f"audit: {what:<44} {code} x {count}")
        if not any(code == 409 for (_, code), _ in answers.items()):
            self.complaints(["the audit log shows not one refused compare-and-swap: nothing contended"])

    def close(self) -> None:
        """Write the files and the summary."""
        played = [o for o in self._outcomes if o.point]
        bad = [o for o in self._outcomes if o.wrong]
        summary = (
            f"{len(played)} failpoints armed, {sum(o.hits for o in played)} hit, "
            f"{sum(o.contended for o in self._outcomes)} contentions seen, {len(bad)} plays wrong, "
            f"{len(self._complaints)} complaints"
        )
        lines = [HEAD, *map(line, self._outcomes), *self._notes, *self._complaints, summary]
        (self._directory / "table.txt").write_text("\n".join(lines) + "\n")
        (self._directory / "outcomes.json").write_text(json.dumps([asdict(o) for o in self._outcomes], indent=1))
        print(*self._notes, summary, sep="\n", flush=True)


def line(outcome: Outcome) -> str:
    """One row."""
    how = Counter(outcome.ended.values())
    said = ", ".join(f"{count}x {what}" if count > 1 else what for what, count in sorted(how.items()))
    answer = f" late write: {outcome.answer};" if outcome.answer else ""
    verdict = f"WRONG: {'; '.join(outcome.wrong)}" if outcome.wrong else "ok"
    return (
        f"{outcome.story:<20} {outcome.point or '(quiet)':<44} {outcome.moment:<8} {outcome.action:<6} "
        f"{outcome.hits:>4} {outcome.seconds:>6}  {verdict};{answer} {said}"
    )
