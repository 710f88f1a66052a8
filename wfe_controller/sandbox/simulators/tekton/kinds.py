"""Tekton's kinds as CRDs: those of Tekton 1.12 itself, written by hack/recordings/kinds.py."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec

from wfe_controller.kube.objects import Json

FILE = Path(__file__).with_name("kinds.json.gz")


def crds() -> list[Json]:
    """CustomResourceDefinitions of Pipeline, PipelineRun and TaskRun, version v1."""
    return msgspec.json.decode(gzip.decompress(FILE.read_bytes()), type=list[Json])
