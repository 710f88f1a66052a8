"""``wfe-controller sandbox``: what can be wrong before anything starts is one line with the remedy."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
from wfe_controller.cli.main import main
main(["sandbox"], prog_name="wfe-controller")
"""


@pytest.mark.parametrize(
    ("modules", "packages"),
    [
        (["cel_expr_python"], "cel-expr-python"),
        (["cryptography"], "cryptography"),
        (["re2"], "google-re2"),
        (["cel_expr_python", "cryptography"], "cel-expr-python, cryptography"),
    ],
)
def test_without_the_extra_it_says_how_to_get_it(modules: list[str], packages: str) -> None:
    command = [sys.executable, "-c", WITHOUT, *modules]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr == (
        f"wfe-controller: error: the sandbox needs what is not installed ({packages}): pip install "
        "'wfe-controller[sandbox]', or pip install -e '.[sandbox]' in a clone\n"
    )
