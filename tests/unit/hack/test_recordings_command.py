"""``python -m hack.recordings`` where something is missing: it says what, and writes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hack.cluster import Cluster, MachineUnfit
from hack.recordings import __main__ as command
from hack.recordings.lives import LIVES
from hack.recordings.situations import SITUATIONS, Situation
from hack.recordings.workloads import WORKS, Work


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["recordings", *words])
    return command.main()


def test_without_a_node_it_says_why_it_needs_one_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unfit(*_: Any, **__: Any) -> NoReturn:
        raise MachineUnfit("a cluster cannot run here:\n  - it needs root")

    monkeypatch.setattr(Cluster, "launch", unfit)
    monkeypatch.setattr(command, "sweep", list)
    monkeypatch.setattr(command, "sweep_clusters", list)
    assert run(monkeypatch, "--into", str(tmp_path), "success", "evicted") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the recordings are of real pods, which need a node. a cluster cannot run here")
    assert "it needs root" in said
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_situation_is_named_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "sucess") == 2
    said = capsys.readouterr().err
    assert "no such situation: sucess" in said
    assert "success" in said
    assert "pods/restarts" in said
    assert "job-fails" in said


def test_every_recording_has_a_file_of_its_own() -> None:
    everything: list[Situation | Work] = [*SITUATIONS, *WORKS, *LIVES]
    assert len({command.path_of(item) for item in everything}) == len(everything)
