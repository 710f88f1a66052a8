"""Where settings come from: the YAML file, the environment, the flags; merged with the origin of every value.

Neighbour of app/config, which knows the keys and validates. This module knows only their spelling:
a key is a path of camelCase parts (``execution.cooldownPeriod``), its variable is
``WFE_EXECUTION__COOLDOWN_PERIOD``. No value is interpreted here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wfe_controller.app.exits import ConfigError

ENV_PREFIX = "WFE_"
MAX_FILE_BYTES = 1024 * 1024

KeyPath = tuple[str, ...]

# Kubernetes injects these for every Service of the namespace (enableServiceLinks). A Service called "wfe-metrics"
# would otherwise look like a misspelt setting and stop the process.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")
_UPPER = re.compile(r"(?<!^)(?=[A-Z])")


def dotted(path: KeyPath) -> str:
    return ".".join(path)


def env_name(path: KeyPath) -> str:
    """``("client", "requestTimeout")`` -> ``WFE_CLIENT__REQUEST_TIMEOUT``."""
    return ENV_PREFIX + "__".join(_UPPER.sub("_", part).upper() for part in path)


def shown(value: object, limit: int = 60) -> str:
    """A value as an error message quotes it: JSON-like, one line, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


@dataclass(slots=True)
class Layers:
    """The merged values of all sources. ``keys``: every leaf key there is; a later ``put`` wins."""

    keys: frozenset[KeyPath]
    values: dict[KeyPath, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, path: KeyPath, value: Any, origin: str) -> None:
        self.values[path] = value
        self.origins[path] = origin

    def tree(self) -> dict[str, Any]:
        """The values as nested dicts, in the shape of the YAML file."""
        root: dict[str, Any] = {}
        for path, value in self.values.items():
            node = root
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = value
        return root

    def unknown(self, name: str, origin: str, known: Iterable[str]) -> None:
        nearest = _nearest(name, known)
        hint = f"did you mean {nearest}?" if nearest else "remove it, or see the list of settings in the docs"
        self.problems.append(f"{name} ({origin}): unknown key; {hint}")

    def is_section(self, path: KeyPath) -> bool:
        return any(key[: len(path)] == path and len(key) > len(path) for key in self.keys)

    def add_file(self, file: Path) -> None:
        """Read a YAML file; raises ConfigError when it cannot be read or is no mapping."""
        self._walk((), read_yaml(file), f"file {file}")

    def _walk(self, prefix: KeyPath, node: Mapping[Any, Any], origin: str) -> None:
        for raw, value in node.items():
            path = (*prefix, str(raw))
            if path in self.keys:
                self.put(path, value, origin)
            elif not self.is_section(path):
                self.unknown(dotted(path), origin, (dotted(key) for key in self.keys))
            elif isinstance(value, Mapping):
                self._walk(path, value, origin)
            elif value is not None:  # an empty section in YAML reads as null
                self.problems.append(
                    f"{dotted(path)} = {shown(value)} ({origin}): must be a section; put its keys below it, indented"
                )

    def add_environment(self, env: Mapping[str, str]) -> None:
        """Take every ``WFE_*`` variable; one that names no key is a problem."""
        by_name = {env_name(path): path for path in self.keys}
        for name in sorted(env):
            if not name.startswith(ENV_PREFIX):
                continue
            if name in by_name:
                self.put(by_name[name], env[name], f"env {name}")
            elif not _SERVICE_LINK.search(name):
                self.unknown(name, "environment", by_name)

    def add_overrides(self, overrides: Mapping[str, str], origins: Mapping[str, str]) -> None:
        """Take flags; ``origins`` names the flag of a key, ``--set`` when absent."""
        by_name = {dotted(path): path for path in self.keys}
        for name, value in overrides.items():
            origin = origins.get(name, "flag --set")
            if name in by_name:
                self.put(by_name[name], value, origin)
            else:
                self.unknown(name, origin, by_name)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The key that was probably meant: by its whole spelling, or by its last part alone (``qps`` -> ``client.qps``)."""
    # Compared in lower case: a wrong case is the usual mistake and has no letters in common with UPPER_SNAKE.
    spellings = {candidate.lower(): candidate for candidate in known}
    last = _last_part(name.lower())
    namesakes = [candidate for lower, candidate in spellings.items() if _last_part(lower) == last]
    if len(namesakes) == 1:
        return namesakes[0]
    close = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.6)
    return spellings[close[0]] if close else None


def _last_part(name: str) -> str:
    return name.rpartition("__" if "__" in name else ".")[2]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice; plain YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            name = str(getattr(key_node, "value", ""))
            if name in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is written twice", key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> Mapping[Any, Any]:
    """The mapping in ``file`` (empty file = empty mapping); ConfigError names the file, the line and the remedy."""
    try:
        if file.is_dir():
            raise ConfigError(f"config file {file}: is a directory; name the YAML file in it")
        content = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"config file {file}: does not exist; create it or correct --config") from None
    except OSError as error:
        raise ConfigError(f"config file {file}: cannot be read ({error.strerror}); correct its permissions") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"config file {file}: {len(content)} bytes, more than {MAX_FILE_BYTES}; is it the right file?"
        )
    try:
        document = yaml.load(content.decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
        why = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ConfigError(f"config file {file}{where}: not valid YAML: {why}; correct the file") from None
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise ConfigError(f"config file {file}: holds {shown(document)}; it must be a mapping of sections")
    return document
