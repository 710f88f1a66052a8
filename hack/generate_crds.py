"""``make crds``: write the generated files of manifests/ (CRDs, RBAC, namespaces) from the code.

Tests compare the two, so a forgotten run shows.
"""

from __future__ import annotations

from pathlib import Path

from wfe_controller.cli.manifests import generated_files

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"


def main() -> None:
    for name, content in generated_files().items():
        path = MANIFESTS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        print(path.relative_to(MANIFESTS.parent))


if __name__ == "__main__":
    main()
