"""``kubectl wfe`` as an operator runs it: the real kubectl finds the plugin on PATH, the cluster comes from KUBECONFIG.

Whatever ``explain`` names as the next command can be run here word for word.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import REPOSITORY
from tests.support.eventually import eventually

Object = dict[str, Any]
REASON = "looked at it by hand, all is well"
MODULES = {
    "kubectl-wfe": "from wfe_controller.cli.kubectl.main import main; main(prog_name='kubectl-wfe')",
    "kubectl_complete-wfe": "from wfe_controller.cli.kubectl.completion import for_kubectl; for_kubectl()",
    "wfe-controller": "from wfe_controller.cli.main import main; main(prog_name='wfe-controller')",
}


@dataclass(frozen=True)
class Said:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def complaint(self) -> str:
        """stderr of a refusal; nothing else was said, above all no traceback."""
        assert "Traceback" not in self.stderr, self.stderr
        assert self.stdout == "", self.stdout
        return self.stderr.strip()


class Plugin:
    """One operator: a kubeconfig and a namespace to work in."""

    def __init__(self, directory: Path, kubectl: Path, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        directory.mkdir(parents=True, exist_ok=True)
        for name, code in MODULES.items():
            script = directory / name
            script.write_text(
                f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(REPOSITORY))} exec {shlex.quote(sys.executable)} -c "
                f'{shlex.quote(code)} "$@"\n'
            )
            script.chmod(0o755)
        if not (directory / "kubectl").exists():
            (directory / "kubectl").symlink_to(kubectl)
        # COLUMNS is what a terminal of whoever runs the tests has, and a library in the test process may have set it.
        ours = ("WFE_", "KUBE", "NO_COLOR", "COLUMNS")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self._env = {
            **clean,
            "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(kubeconfig),
            "KUBECACHEDIR": str(directory / "cache"),
            "HOME": str(directory),
        }
        self._directory = directory

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Said:
        """``kubectl wfe WORDS``, in the namespace unless the words name one."""
        named = {"-n", "--namespace", "-A", "--all-namespaces"} & set(words) or words[0] == "completion"
        where = [] if named else ["-n", self.namespace]
        return self._run([str(self._directory / "kubectl"), "wfe", *words, *where], env)

    def shell(self, command: str, *, env: Mapping[str, str] | None = None) -> Said:
        """A whole command line, as it was printed; what stands in angle brackets is filled in as a person would."""
        said = re.sub(r"'<[^']*>'", shlex.quote(REASON), command)
        return self._run(["/bin/sh", "-c", said], env)

    def start(self, command: str) -> subprocess.Popen[str]:
        """A command line that ends later."""
        return subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, argv: list[str], env: Mapping[str, str] | None) -> Said:
        done = subprocess.run(
            argv, env={**self._env, **(env or {})}, capture_output=True, text=True, check=False, timeout=120
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def explain(self, name: str) -> Object:
        """The explanation; whatever the situation, it answers what and what next."""
        said = self("explain", name, "-o", "json")
        assert said.code == 0, said
        told: Object = said.json
        assert told["headline"]
        assert told["next"]["command"]
        assert told["next"]["why"]
        return told

    def await_situation(self, name: str, *situations: str, timeout: float = 40) -> Object:
        """The explanation once it is one of these."""
        told: Object = {}

        def reached() -> bool:
            told.clear()
            told.update(self.explain(name))
            return told["situation"] in situations

        eventually(reached, timeout, what=f"{name} explained as {'|'.join(situations)}", on_failure=lambda: told)
        return dict(told)

    def follow(self, told: Object, *, env: Mapping[str, str] | None = None) -> Said:
        """Run the ONE next command; it must not fail."""
        said = self.shell(told["next"]["command"], env=env)
        assert said.code == 0, (told["next"]["command"], said)
        return said

    def editor(self, expression: str) -> dict[str, str]:
        """An editor that does one thing: ``sed -E`` with that expression. For ``env``."""
        script = self._directory / "editor"
        script.write_text(f'#!/bin/sh\nexec sed -E -i {shlex.quote(expression)} "$1"\n')
        script.chmod(0o755)
        return {"KUBE_EDITOR": str(script)}
