"""Why the process ends before its work is done, typed by exit code.

The command line turns these into one line on stderr; nothing else maps errors to exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_ENVIRONMENT = 1
EXIT_USAGE = 2


class ExitError(Exception):
    """Ends the process with ``code``; ``str()`` is one line that names the thing and the remedy."""

    code = EXIT_ENVIRONMENT


class StartFailed(ExitError):
    """The environment refuses: a port in use, Tekton missing, the API server unreachable."""

    code = EXIT_ENVIRONMENT


class ConfigError(ExitError):
    """What the operator typed or configured cannot be used.

    ``problems`` has one line for each wrong key: its name, the value, where it was set, the remedy.
    """

    code = EXIT_USAGE

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(" ".join(problem.split()) for problem in self.problems))
