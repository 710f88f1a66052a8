"""What readiness and liveness hang on, and what they do not (SPEC 8, I-58, TH39)."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.stepping import ManualClock
from wfe_controller.app import health
from wfe_controller.app.config import Settings, load_settings
from wfe_controller.app.health import Health
from wfe_controller.kube.errors import ConnectionFailed
from wfe_controller.kube.objects import Resource
from wfe_controller.kube.probes import CheckResult

OK = CheckResult(True)


@dataclass
class Cache:
    """An informer as the probes see it."""

    synced: bool = True
    last_error: str | None = None
    contact: float = 1.0

    def settled(self) -> bool:
        return self.synced

    has_synced = settled

    def last_contact(self) -> float:
        return self.contact


@dataclass
class Stage:
    """A Health over parts that the test turns off one by one."""

    caches: dict[str, Cache] = field(default_factory=lambda: {"workflowexecutions": Cache(), "pipelineruns": Cache()})
    engine: tuple[bool, str] = (True, "")
    tasks: CheckResult = OK
    settings: Settings = field(default_factory=Settings)

    def health(self) -> Health:
        assembly = SimpleNamespace(
            manager=SimpleNamespace(check_loop=lambda: OK, check_tasks=lambda: self.tasks),
            elector=None,
            informers=self.caches,
            world=SimpleNamespace(engine=lambda name: self.engine),
        )
        reloader = SimpleNamespace(check=lambda: OK)
        return Health(self.settings, cast(Any, assembly), cast(Any, None), "home", cast(Any, reloader), ManualClock())


def failing(probe: Any) -> dict[str, str]:
    return {name: result.why for name, result in probe.results().items() if not result.ok}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rights and CRDs are in order; the list takes what is missing."""
    lacking: list[str] = []

    async def rights(api: object, scope: object) -> list[str]:
        return lacking

    async def crd(api: object, kind: Resource) -> SimpleNamespace:
        return SimpleNamespace(served=True, drift=None, resource=kind, why="")

    monkeypatch.setattr(health, "ask_rights", rights)
    monkeypatch.setattr(health, "missing", lambda answers: answers)
    monkeypatch.setattr(health, "inspect_crd", crd)
    return lacking


async def test_ready_means_synced_allowed_and_able(asked: list[str]) -> None:
    """TH39, I-58: also on a standby; nothing here asks who leads."""
    stage = Stage()
    made = stage.health()
    assert failing(made.ready).keys() == {"rights", "crds"}, "not ready before it was asked"
    await made.ask()
    assert failing(made.ready) == {}
    stage.caches["workflowexecutions"].synced = False
    stage.caches["workflowexecutions"].last_error = "list workflowexecutions: 403 forbidden"
    assert failing(made.ready) == {"cache-workflowexecutions": "list workflowexecutions: 403 forbidden"}
    assert failing(made.live) == {}, "liveness does not depend on others"


async def test_a_missing_right_is_named(asked: list[str]) -> None:
    """T69, P:W9: not just "not ready"."""
    made = Stage().health()
    asked.append("watch pipelineruns in kubernaut-workflows")
    await made.ask()
    assert "watch pipelineruns" in failing(made.ready)["rights"]
    asked.clear()
    await made.ask()
    assert failing(made.ready) == {}


async def test_an_engine_that_is_missing_shows(asked: list[str]) -> None:
    """TH39, T68: the tekton engine is what this version is for; without it the process is not ready, but it lives."""
    stage = Stage()
    made = stage.health()
    await made.ask()
    stage.engine = (False, "Tekton is not installed")
    assert failing(made.ready) == {"engine-tekton": "Tekton is not installed"}
    assert failing(made.live) == {}


async def test_dead_tasks_and_ten_minutes_of_silence_end_the_life() -> None:
    """P:W2: what only a restart can mend."""
    stage = Stage(tasks=CheckResult(False, "task sweeper failed 4 times"))
    made = stage.health()
    assert failing(made.live) == {"tasks": "task sweeper failed 4 times"}
    for cache in stage.caches.values():
        cache.contact = 601.0
    assert "contact" in failing(made.live)
    stage.caches["pipelineruns"].contact = 5.0
    assert "contact" not in failing(made.live)


async def test_a_question_without_an_answer_keeps_the_verdict(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that is away for a moment does not take a replica out of service; the age tells."""
    made = Stage().health()
    await made.ask()

    async def down(api: object, scope: object) -> list[str]:
        raise ConnectionFailed("refused")

    monkeypatch.setattr(health, "ask_rights", down)
    await made.ask()
    assert failing(made.ready) == {}


async def test_an_engine_that_is_not_required_does_not_hold_back_a_rollout() -> None:
    """P:W9: with --no-require-tekton the process is ready without Tekton, and still says that it is missing."""
    settings = load_settings(None, env={"WFE_CONTROLLER__REQUIRE_TEKTON": "false"})
    made = Stage(engine=(False, "Tekton is not installed"), settings=settings).health()
    result = made.ready.results()["engine-tekton"]
    assert (result.ok, result.why) == (True, "Tekton is not installed")
