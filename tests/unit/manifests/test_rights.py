"""The rights that manifests/rbac/ grants, line by line, against a golden file that nothing generates.

The RBAC is generated from a table; a slip there would change the manifests and every test that reads the table with
them. A right more or less is a decision: write it into rights.golden.txt by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
GOLDEN = Path(__file__).with_name("rights.golden.txt")


def granted() -> Iterator[str]:
    """``<role> in <namespace|cluster>: <verb> <resource>.<group> [only <names>]``, every role that is shipped."""
    for path in [*(MANIFESTS / "rbac").glob("*.yaml"), *(MANIFESTS / "components").rglob("*.yaml")]:
        for obj in yaml.safe_load_all(path.read_text()):
            if obj and obj["kind"] in ("Role", "ClusterRole"):
                where = obj["metadata"].get("namespace", "cluster")
                for rule in obj.get("rules") or []:
                    yield from (f"{obj['metadata']['name']} in {where}: {line}" for line in _lines(rule))


def _lines(rule: dict[str, Any]) -> Iterator[str]:
    names = f" only {', '.join(rule['resourceNames'])}" if "resourceNames" in rule else ""
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield f"{verb} {resource}{f'.{group}' if group else ''}{names}"


def test_the_rights_are_those_of_the_golden_file() -> None:
    """Issue 4, rights."""
    assert sorted(granted()) == GOLDEN.read_text().splitlines()
