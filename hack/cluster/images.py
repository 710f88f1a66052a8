"""The small images of the cluster, made without a builder: pause, busybox, Tekton's entrypoint and nop.

Each is a docker-archive with one layer. busybox is Debian's static one with a link for every applet. The pause
container is the same program asleep: a sandbox is ended by KILL, and nothing in it has to be reaped.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
PAUSE = "docker.io/library/pause:1"
_DIRECTORIES = ("bin", "etc", "tmp", "root", "ko-app")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"


def write_all(directory: Path, entrypoint: Path) -> list[Path]:
    """The archives, written into ``directory`` unless they are there; their names change with their content."""
    applets = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "/bin/busybox" for name in sorted(set(applets) - {"busybox"})}
    shell = {"bin/busybox": BUSYBOX.read_bytes(), "etc/passwd": _PASSWD}
    sleep = ["/bin/busybox", "sleep", "2147483647"]
    helper = {"ko-app/entrypoint": entrypoint.read_bytes()}
    return [
        write(directory, "pause:1", shell, {}, entrypoint=sleep),
        write(directory, "busybox:1", shell, links, entrypoint=[]),
        write(directory, "entrypoint:1", helper, {}, entrypoint=["/ko-app/entrypoint"]),
        write(directory, "nop:1", helper, {}, entrypoint=["/ko-app/entrypoint"]),
    ]


def write(
    directory: Path, tag: str, files: Mapping[str, bytes], links: Mapping[str, str], *, entrypoint: Sequence[str]
) -> Path:
    """One docker-archive; the same content gives the same bytes."""
    digest = hashlib.sha256(repr((tag, sorted(links.items()), entrypoint)).encode())
    for name, content in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(content).digest())
    path = directory / f"{tag.replace(':', '-')}-{digest.hexdigest()[:16]}.tar"
    if path.exists():
        return path
    layer = _layer(files, links)
    layer_id = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"], "Cmd": [] if entrypoint else ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest: list[dict[str, Any]] = [
        {"Config": config_name, "RepoTags": [f"docker.io/library/{tag}"], "Layers": [f"{layer_id}.tar"]}
    ]
    directory.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in (
            (f"{layer_id}.tar", layer),
            (config_name, config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            _add(archive, name, content, 0o644)
    partial.replace(path)
    return path


def _layer(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in _DIRECTORIES:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        for name, content in sorted(files.items()):
            _add(archive, name, content, 0o644 if name.startswith("etc/") else 0o755)
        for name, target in sorted(links.items()):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    return raw.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(content), mode
    archive.addfile(header, io.BytesIO(content))
