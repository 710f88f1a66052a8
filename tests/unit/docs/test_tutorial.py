"""The requests of the tutorial name bundles that the sandbox has: a changed scenario changes their digests.

What its commands say is compared in tests/integration/test_tutorial.py, by what is tested here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support import console
from wfe_controller.sandbox.simulators import scenario_file

TUTORIAL = Path(__file__).resolve().parents[3] / "docs" / "tutorial.md"


def test_every_bundle_of_the_tutorial_is_in_the_sandbox() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    images = [yaml.safe_load(block)["spec"]["workflowRef"]["containerImage"] for block in blocks]
    assert len(images) == 4
    assert set(images) <= set(scenario_file.default().references())


PAGE = """
Save this as `a.yaml`: words.

```yaml
kind: A
```

```yaml
kind: shown only
```

```console
$ kubectl wfe explain \\
    a
since 2026-01-01 10:00:00Z (2s ago)
  $ not a command

$ kubectl get a
NAME  AGE
a     1m5s
```
"""


def test_a_page_is_read_as_a_reader_does() -> None:
    assert console.steps(PAGE) == [
        console.Saved("a.yaml", "kind: A\n"),
        console.Shown("kubectl wfe explain \\\n    a", "since 2026-01-01 10:00:00Z (2s ago)\n  $ not a command"),
        console.Shown("kubectl get a", "NAME  AGE\na     1m5s"),
    ]


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("since 2026-01-01 10:00:00Z (2s ago)", "since 2027-12-31 23:59:59Z\n  (4m55s ago)", True),
        ("10:00:00  a  Running", "11:11:11  a   Running", True),
        ("cools down for another 5m", "cools down for another 4m59s", True),
        ("exit code 3", "exit code 4", False),
        ("version 1.0.1s", "version 1.0.2s", False),
        ("wfe-12s", "wfe-13s", False),
        ("a  Free", "a  Held", False),
        ("one line", "one line more", False),
    ],
)
def test_only_times_and_breaks_may_differ(shown: str, said: str, same: bool) -> None:
    assert (console.words(shown) == console.words(said)) is same


def test_a_page_is_written_anew_with_what_was_said() -> None:
    said = {"kubectl wfe explain \\\n    a": "since ever", "kubectl get a": "a\nb"}
    written = console.rewritten(PAGE, said.__getitem__)
    assert "```console\n$ kubectl wfe explain \\\n    a\nsince ever\n\n$ kubectl get a\na\nb\n```\n" in written
    assert written[: written.index("```console")] == PAGE[: PAGE.index("```console")]
