"""Tekton bundles, pushed by the OCI distribution API.

A bundle is an OCI image with one gzip tar layer per object, one file in it, and three annotations on the layer by
which Tekton's resolver finds the object (dev.tekton.image.name, .kind in lower case, .apiVersion). The bytes depend
on the objects alone: the same objects give the same digest, so a test may know it beforehand.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from hack.controlplane.client import Refused, RestClient

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(name: str, content: bytes) -> tuple[bytes, str]:
    """A gzip tar with one file, and the digest of the tar before compression."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.mtime = len(content), 0o600, 0
        archive.addfile(header, io.BytesIO(content))
    plain = raw.getvalue()
    return gzip.compress(plain, mtime=0), digest_of(plain)


def bundle(objects: Sequence[dict[str, Any]]) -> tuple[bytes, list[bytes]]:
    """The manifest and its blobs (the config first)."""
    layers, diff_ids, blobs = [], [], []
    for item in objects:
        blob, diff_id = layer(item["metadata"]["name"], json.dumps(item, sort_keys=True).encode())
        blobs.append(blob)
        diff_ids.append(diff_id)
        annotations = {
            "dev.tekton.image.name": item["metadata"]["name"],
            "dev.tekton.image.kind": item["kind"].lower(),
            "dev.tekton.image.apiVersion": item["apiVersion"].rpartition("/")[2],
        }
        layers.append({"mediaType": _LAYER, "digest": digest_of(blob), "size": len(blob), "annotations": annotations})
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": layers,
        "annotations": {},
    }
    return json.dumps(manifest).encode(), [config, *blobs]


def push_bundle(registry: str, reference: str, objects: Sequence[dict[str, Any]]) -> str:
    """Push to ``registry`` (host:port) under ``name`` or ``name:tag``; gives ``host:port/name@sha256:...``."""
    name, _, tag = reference.partition(":")
    client = RestClient(f"http://{registry}")
    try:
        manifest, blobs = bundle(objects)
        for blob in blobs:
            _push_blob(client, name, blob)
        _expect(
            client.exchange("PUT", f"/v2/{name}/manifests/{tag or 'latest'}", manifest, {"Content-Type": _MANIFEST})
        )
    finally:
        client.close()
    return f"{registry}/{name}@{digest_of(manifest)}"


def _push_blob(client: RestClient, name: str, blob: bytes) -> None:
    _, headers, _ = _expect(client.exchange("POST", f"/v2/{name}/blobs/uploads/", b""))
    location = urlsplit(headers["Location"])
    query = f"{location.query}&" if location.query else ""
    path = f"{location.path}?{query}digest={digest_of(blob)}"
    _expect(client.exchange("PUT", path, blob, {"Content-Type": "application/octet-stream"}))


def _expect(answer: tuple[int, Any, bytes]) -> tuple[int, Any, bytes]:
    status, _, body = answer
    if status >= 300:
        raise Refused(status, body.decode(errors="replace"))
    return answer
