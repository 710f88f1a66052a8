"""Where the servers come from: KUBEBUILDER_ASSETS, else our cache, else a build from the pinned Go modules.

The cache directory is named by a hash of every go.mod and go.sum and of the link flags, so a changed version is
another directory and an old plane keeps what it was started with. Each file appears there by an atomic rename under a
lock: two builders at once do the work once, and a killed build leaves nothing half done. Once a directory is
complete, Go is not needed any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULES = Path(__file__).resolve().parent / "modules"
TEKTON_MODULE = "github.com/tektoncd/pipeline"
TEKTON_OBJECTS = "tekton-objects.json"
_PLANE_CONFIG = (
    "100-namespace/100-namespace.yaml",
    "300-crds",
    "config-*.yaml",
    "resolvers/100-namespace.yaml",
    "resolvers/*config*.yaml",
)

Progress = Callable[[str], None]


class BinariesMissing(Exception):
    """A server binary can neither be found nor built; the text says what to install."""


@dataclass(frozen=True)
class Tool:
    """One binary: the file's name here, the Go module directory that pins it, its main package."""

    name: str
    family: str
    package: str


# In the order of a cold build: the small ones first, so that a broken Go environment shows within seconds, not minutes.
TOOLS: tuple[Tool, ...] = (
    Tool("crane", "registry", "github.com/google/go-containerregistry/cmd/crane"),
    Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Tool("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Tool("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Tool("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    Tool("tekton-controller", "tekton", f"{TEKTON_MODULE}/cmd/controller"),
    Tool("tekton-resolvers", "tekton", f"{TEKTON_MODULE}/cmd/resolvers"),
    Tool("tekton-webhook", "tekton", f"{TEKTON_MODULE}/cmd/webhook"),
)
BY_NAME: Mapping[str, Tool] = {tool.name: tool for tool in TOOLS}


def pinned_version(family: str, module: str) -> str:
    """The version of ``module`` that the family's go.mod requires, like ``v1.36.3``."""
    text = (MODULES / family / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise BinariesMissing(f"{family}/go.mod does not require {module}")
    return found.group(1)


def link_flags(family: str) -> str:
    """``-ldflags`` of a family.

    Without the version a Kubernetes server calls itself v0.0.0 and clients refuse features.
    """
    flags = "-s -w"
    if family in ("kubernetes", "node"):
        version = pinned_version(family, "k8s.io/kubernetes")
        major, minor, _ = version.removeprefix("v").split(".", 2)
        prefix = "-X k8s.io/component-base/version"
        flags += f" {prefix}.gitVersion={version} {prefix}.gitMajor={major} {prefix}.gitMinor={minor}"
    return flags


def cache_key(modules: Path = MODULES, tools: Sequence[Tool] = TOOLS) -> str:
    """16 hex digits that change with any pinned version, any link flag, and the machine's kind."""
    digest = hashlib.sha256(f"{platform.system()}/{platform.machine()}".encode())
    families = sorted({tool.family for tool in tools})
    for path in sorted(path for family in families for path in (modules / family).glob("go.*")):
        digest.update(f"\0{path.relative_to(modules)}\0".encode() + path.read_bytes())
    for family in families:
        digest.update(link_flags(family).encode())
    return digest.hexdigest()[:16]


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    base = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "wfe-controller" / cache_key()


def print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Binaries:
    """Resolved paths; ``tekton_objects`` is a JSON list of Tekton's namespaces, CRDs and ConfigMaps."""

    paths: Mapping[str, Path]
    tekton_objects: Path | None

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


def resolve(names: Sequence[str], *, tekton: bool, progress: Progress = print_progress) -> Binaries:
    """Find or build every named binary. Raises BinariesMissing with the remedy."""
    paths = {name: path for name in names if (path := find(name)) is not None}
    missing = [tool for tool in TOOLS if tool.name in names and tool.name not in paths]
    cache = cache_dir()
    objects = cache / TEKTON_OBJECTS
    if missing or (tekton and not objects.exists()):
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock", progress):
            for number, tool in enumerate(missing, start=1):
                if (found := find(tool.name)) is None:
                    found = build_tool(tool, cache, f"[{number}/{len(missing)}]", progress)
                paths[tool.name] = found
            if tekton and not objects.exists():
                _store_tekton_objects(paths["kubectl"], objects)
    return Binaries(paths, objects if tekton else None)


def find(name: str, env: Mapping[str, str] = os.environ) -> Path | None:
    """The binary in KUBEBUILDER_ASSETS or in the cache; what the first lacks falls through to the second."""
    assets = env.get("KUBEBUILDER_ASSETS")
    for directory in ([Path(assets)] if assets else []) + [cache_dir(env)]:
        path = directory / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def complete(env: Mapping[str, str] = os.environ) -> bool:
    """Whether a plane can start without building anything."""
    return (cache_dir(env) / TEKTON_OBJECTS).exists() and all(find(tool.name, env) for tool in TOOLS)


@contextlib.contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of a cache directory: the second of two builders waits and finds the work done."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of the control plane binaries ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _go(family: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    go = shutil.which("go")
    if go is None:
        raise BinariesMissing(
            "the control plane's servers are not built yet and there is no Go: install Go >= 1.24 (https://go.dev/dl), "
            "or point KUBEBUILDER_ASSETS at a directory that holds " + ", ".join(BY_NAME)
        )
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    return subprocess.run([go, *arguments], cwd=MODULES / family, env=env, capture_output=True, text=True, check=False)


def build_tool(tool: Tool, cache: Path, counter: str, progress: Progress) -> Path:
    """Build one binary into ``cache``; it appears there complete or not at all. Raises BinariesMissing."""
    progress(f"{counter} building {tool.name} from {tool.package} (once; minutes for the big ones) ...")
    began = time.monotonic()
    partial = cache / f".{tool.name}.{os.getpid()}"
    try:
        done = _go(
            tool.family, "build", "-trimpath", "-ldflags", link_flags(tool.family), "-o", str(partial), tool.package
        )
        if done.returncode != 0:
            raise BinariesMissing(f"go build of {tool.name} failed:\n{done.stderr.strip()[-4000:]}")
        target = cache / tool.name
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    progress(f"{counter} built {tool.name} in {time.monotonic() - began:.0f} s, {target.stat().st_size >> 20} MiB")
    return target


def _store_tekton_objects(kubectl: Path, target: Path) -> None:
    objects = read_tekton_config(kubectl, *_PLANE_CONFIG)
    write_json(target, [serve_storage_version_only(item) for item in objects])


def read_tekton_config(kubectl: Path, *patterns: str) -> list[dict[str, Any]]:
    """Objects of Tekton's own config/ folder, as shipped, in the order of the patterns. Raises BinariesMissing."""
    done = _go("tekton", "mod", "download", "-json", TEKTON_MODULE)
    if done.returncode != 0:
        raise BinariesMissing(
            f"go mod download {TEKTON_MODULE} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}"
        )
    config = Path(json.loads(done.stdout)["Dir"]) / "config"
    paths = [path for pattern in patterns for path in sorted(config.glob(pattern))]
    return [item for path in paths for item in _yaml_to_objects(kubectl, path)]


def write_json(target: Path, content: Any) -> None:
    """Write a file of the cache, complete or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_text(json.dumps(content))
    partial.replace(target)


def _yaml_to_objects(kubectl: Path, path: Path) -> list[dict[str, Any]]:
    """Objects of a YAML file or directory. kubectl is the only YAML reader at hand without a third-party package."""
    command = [str(kubectl), "annotate", "--local", "--output=json", "--filename", str(path), "wfe.test/plane=true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BinariesMissing(f"kubectl cannot read {path}: {done.stderr.strip()}")
    decoder, text = json.JSONDecoder(), done.stdout.strip()
    found: list[dict[str, Any]] = []
    while text:
        item, end = decoder.raw_decode(text)
        found.extend(item["items"] if item["kind"] == "List" else [item])
        text = text[end:].lstrip()
    return found


def serve_storage_version_only(item: dict[str, Any]) -> dict[str, Any]:
    """Take the conversion webhook out of a CRD, and with it every version but the stored one.

    Nobody answers the conversion webhook on a plane, and the API server then retries in a loop that burns a whole core.
    """
    if item["kind"] == "CustomResourceDefinition" and item["spec"].get("conversion", {}).get("strategy") == "Webhook":
        del item["spec"]["conversion"]
        item["spec"]["versions"] = [version for version in item["spec"]["versions"] if version["storage"]]
    return item
