"""``python -m hack.recordings.kinds``: Tekton's CRDs of the planes' binaries, cut down to what the sandbox serves.

Version v1 of Pipeline, PipelineRun and TaskRun with their whole schemas, less descriptions; gzip, the same bytes for
the same input.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from hack.controlplane.binaries import resolve
from wfe_controller.sandbox.simulators.tekton.kinds import FILE

KINDS = ("pipelines.tekton.dev", "pipelineruns.tekton.dev", "taskruns.tekton.dev")


def main() -> int:
    objects = resolve([], tekton=True).tekton_objects
    assert objects is not None
    found = {item["metadata"]["name"]: item for item in json.loads(objects.read_text())}
    text = json.dumps([_cut(found[name]) for name in KINDS], sort_keys=True, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{FILE.name}: {len(text)} bytes of JSON, {FILE.stat().st_size} written")
    return 0


def _cut(crd: dict[str, Any]) -> dict[str, Any]:
    spec = {key: value for key, value in crd["spec"].items() if key != "conversion"}
    versions = [_plain(version) for version in spec["versions"] if version["name"] == "v1"]
    return {
        "apiVersion": crd["apiVersion"],
        "kind": crd["kind"],
        "metadata": {"name": crd["metadata"]["name"], "labels": {"app.kubernetes.io/part-of": "tekton-pipelines"}},
        "spec": {**spec, "versions": [{**version, "storage": True} for version in versions]},
    }


def _plain(value: Any, *, names: bool = False) -> Any:
    """Without descriptions; below ``properties`` a key of that name is a field, not a description."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if names or key != "description"}
        return {key: _plain(item, names=key == "properties" and not names) for key, item in kept.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    raise SystemExit(main())
