"""``make crds``: write manifests/crds from the models. A test compares the two, so a forgotten run shows."""

from __future__ import annotations

from pathlib import Path

from wfe_controller.api import crd

TARGET = Path(__file__).resolve().parents[1] / "manifests" / "crds"


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for resource in crd.KINDS:
        path = TARGET / crd.file_name(resource)
        path.write_text(crd.to_yaml(crd.crd(resource.kind)))
        print(path.relative_to(TARGET.parents[1]))


if __name__ == "__main__":
    main()
