"""Tekton bundles: the bytes are a function of the objects, and the resolver finds each object by its annotations."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Any

from hack.controlplane.registry import bundle, digest_of

TASK = {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "act"}, "spec": {}}
PIPELINE = {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "workflow"}, "spec": {}}


def test_every_object_is_one_layer_with_one_file() -> None:
    manifest_bytes, blobs = bundle([PIPELINE, TASK])
    manifest: dict[str, Any] = json.loads(manifest_bytes)
    by_digest = {digest_of(blob): blob for blob in blobs}
    assert len(manifest["layers"]) == 2
    for layer, item in zip(manifest["layers"], [PIPELINE, TASK], strict=True):
        blob = by_digest[layer["digest"]]
        assert layer["size"] == len(blob)
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
            (member,) = archive.getmembers()
            content = archive.extractfile(member)
            assert content is not None
            assert json.loads(content.read()) == item
    assert manifest["layers"][0]["annotations"] == {
        "dev.tekton.image.name": "workflow",
        "dev.tekton.image.kind": "pipeline",
        "dev.tekton.image.apiVersion": "v1",
    }


def test_the_config_lists_the_uncompressed_digests() -> None:
    """An image whose diff_ids are wrong is refused by the resolver as corrupt."""
    manifest_bytes, (config, *blobs) = bundle([PIPELINE, TASK])
    assert json.loads(manifest_bytes)["config"]["digest"] == digest_of(config)
    assert json.loads(config)["rootfs"]["diff_ids"] == [digest_of(gzip.decompress(blob)) for blob in blobs]


def test_the_same_objects_give_the_same_digest() -> None:
    """No time and no random number gets in, so that a test may pin a bundle by digest beforehand."""
    reordered = dict(reversed(list(PIPELINE.items())))
    assert digest_of(bundle([PIPELINE])[0]) == digest_of(bundle([reordered])[0])
    assert digest_of(bundle([PIPELINE])[0]) != digest_of(bundle([TASK])[0])
