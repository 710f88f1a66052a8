"""``python -m hack.protobuf_fields``: write which number means which field in the protobuf form of the built-in kinds.

Typed Go clients (kubectl create, kubectl auth can-i) send their bodies so. Read are the ``generated.proto`` files of
the pinned k8s.io/api and k8s.io/apimachinery in Go's module cache; kept are the messages that our kinds reach.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hack.controlplane.binaries import MODULES, pinned_version
from wfe_controller.sandbox.apiserver import definitions

TARGET = Path(__file__).parents[1] / "wfe_controller" / "sandbox" / "apiserver" / "builtin" / "protobuf.json"
_MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(
    r"^  (optional|repeated) ([\w.]+) (\w+) = (\d+);|^  map<string, ([\w.]+)> (\w+) = (\d+);", re.MULTILINE
)
_STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_PLAIN = re.compile(r'^\s+\w+\s+(?:bool|int32|int64)\s+`json:"(\w+),omitempty', re.MULTILINE)
_SCALARS = {
    "string": "s",
    "bytes": "y",
    "bool": "b",
    "double": "d",
    "int32": "i",
    "int64": "i",
    "uint32": "i",
    "uint64": "i",
}
_ALSO = (
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
)


def main() -> None:
    cache = Path(subprocess.check_output(["go", "env", "GOMODCACHE"], text=True, cwd=MODULES / "kubernetes").strip())
    messages: dict[str, dict[str, str]] = {}
    for module in ("k8s.io/api", "k8s.io/apimachinery"):
        directory = cache / f"{module}@{pinned_version('kubernetes', module)}"
        for path in sorted(directory.rglob("generated.proto")):
            messages.update(_read(path.read_text(), _plain_fields(path.parent)))
    kept: dict[str, dict[str, str]] = {}
    waiting = [*_ALSO, *(entry["definition"] for entry in definitions.data()["resources"])]
    while waiting:
        name = waiting.pop()
        if name in kept or name not in messages:
            continue
        kept[name] = messages[name]
        waiting += [kind.rpartition(":")[2] for _, kind in (field.split(" ") for field in kept[name].values())]
    TARGET.write_text(json.dumps(dict(sorted(kept.items())), indent=0, separators=(",", ":")) + "\n")


def _plain_fields(directory: Path) -> set[tuple[str, str]]:
    """(struct, JSON name) of numbers and flags that are no pointers: Go's JSON leaves their zero out."""
    found = set()
    for path in directory.glob("*types*.go"):
        for struct in _STRUCT.finditer(path.read_text()):
            found |= {(struct[1], name) for name in _PLAIN.findall(struct[2])}
    return found


def _read(text: str, plain: set[tuple[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
    assert package is not None
    for message in _MESSAGE.finditer(text):
        fields = {}
        for field in _FIELD.finditer(message[2]):
            how, kind, name, number, value, mapped, place = field.groups()
            if (message[1], name) in plain:
                kind = f"plain {kind}"
            shape = {"repeated": "*", "optional": ""}[how] if how else "%"
            fields[number or place] = f"{name or mapped} {shape}{_kind(kind or value, package[1])}"
        yield _definition(f"{package[1]}.{message[1]}"), fields


def _definition(name: str) -> str:
    return "io.k8s." + name.removeprefix(".").removeprefix("k8s.io.")


def _kind(kind: str, package: str) -> str:
    if kind.startswith("plain "):
        return _SCALARS[kind.removeprefix("plain ")].upper()
    if kind in _SCALARS:
        return _SCALARS[kind]
    return "m:" + _definition(kind if "." in kind else f"{package}.{kind}")


if __name__ == "__main__":
    main()
