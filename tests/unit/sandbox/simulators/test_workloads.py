"""Deployments, Jobs and pods played on the embedded server, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.embedded import Embedded, embedded
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import PODS, Json, ObjectKey, Resource, condition
from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.deployments import DEPLOYMENTS, REPLICASETS, DeploymentSimulator, deployment
from wfe_controller.sandbox.simulators.jobs import JOBS, JobSimulator
from wfe_controller.sandbox.simulators.play import Play
from wfe_controller.sandbox.simulators.pods import PodSimulator
from wfe_controller.sandbox.simulators.simulation import Simulation

pytestmark = pytest.mark.looptime
NAMESPACE = "shop"
KEY = ObjectKey(NAMESPACE, "it")


@dataclass
class Stage:
    place: Embedded
    pods: PodSimulator

    async def create(self, resource: Resource, body: Json) -> Json:
        return await self.place.api.create(resource, body, lane=Lane.READ)

    async def patch(self, resource: Resource, body: Json) -> None:
        await self.place.api.patch(resource, KEY, patches.merge_patch(body), lane=Lane.READ)

    async def until(self, resource: Resource, holds: Callable[[Json], object], seconds: float = 60.0) -> Json:
        """The object as soon as ``holds``, looked at every tenth of a virtual second."""
        found: Json = {}
        for _ in range(int(seconds * 10)):
            found = await self.place.api.get(resource, KEY)
            if holds(found):
                return found
            await self.place.clock.sleep(0.1)
        raise AssertionError(f"not within {seconds:g} s: {found.get('status')}")

    async def all_pods(self) -> list[Json]:
        return await self.place.api.list(PODS, NAMESPACE)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with embedded(random.Random(7)) as place:
        await place.namespace(NAMESPACE)
        async with _playing(place) as found:
            yield found


@asynccontextmanager
async def _playing(place: Embedded, speed: float = 1.0) -> AsyncIterator[Stage]:
    simulation = Simulation(place.api, clock=place.clock, rng=random.Random(1), speed=speed)
    pods = PodSimulator(simulation)
    DeploymentSimulator(simulation)
    JobSimulator(simulation)
    async with simulation.running():
        yield Stage(place, pods)


def container(does: Play = play.DEFAULT) -> Json:
    env = [{"name": play.ENVIRONMENT, "value": play.encode(does)}]
    return {"name": "main", "image": "busybox:1", "env": env}


def job(does: Play = play.DEFAULT, **spec: Any) -> Json:
    template = {"spec": {"restartPolicy": "Never", "containers": [container(does)]}}
    meta = {"name": KEY.name, "namespace": NAMESPACE}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template, **spec}}


def rolled_out(found: Json) -> bool:
    """What kubectl rollout status asks."""
    status = found.get("status") or {}
    wanted = found["spec"]["replicas"]
    numbers = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return status.get("observedGeneration") == found["metadata"]["generation"] and numbers == [wanted] * 3


def is_(kind: str) -> Callable[[Json], bool]:
    return lambda found: condition(found, kind).get("status") == "True"


async def test_a_deployment_gets_its_pods_and_says_that_it_is_available(stage: Stage) -> None:
    await stage.create(DEPLOYMENTS, deployment(NAMESPACE, "it", replicas=3, image="app:1"))
    found = await stage.until(DEPLOYMENTS, rolled_out)
    assert condition(found, "Available")["reason"] == "MinimumReplicasAvailable"
    assert condition(found, "Progressing")["reason"] == "NewReplicaSetAvailable"
    pods = await stage.all_pods()
    assert len(pods) == 3
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert all(pod["metadata"]["name"].startswith("it-") for pod in pods)


@pytest.mark.parametrize("replicas", [0, 1, 5])
async def test_scaling_makes_and_ends_pods(stage: Stage, replicas: int) -> None:
    await stage.create(DEPLOYMENTS, deployment(NAMESPACE, "it", replicas=3, image="app:1"))
    await stage.until(DEPLOYMENTS, rolled_out)
    await stage.patch(DEPLOYMENTS, {"spec": {"replicas": replicas}})
    await stage.until(DEPLOYMENTS, rolled_out)
    await stage.place.clock.sleep(40)
    assert len(await stage.all_pods()) == replicas


async def test_a_rollout_never_has_fewer_pods_available_than_allowed(stage: Stage) -> None:
    """4 replicas, at most 1 unavailable and 1 more than wanted, as the defaults say."""
    await stage.create(DEPLOYMENTS, deployment(NAMESPACE, "it", replicas=4, image="app:1"))
    await stage.until(DEPLOYMENTS, rolled_out)
    seen: list[tuple[int, int]] = []

    def note(found: Json) -> bool:
        seen.append((found["status"].get("availableReplicas", 0), found["status"].get("replicas", 0)))
        return rolled_out(found)

    template = {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}
    await stage.patch(DEPLOYMENTS, {"spec": {"template": template}})
    found = await stage.until(DEPLOYMENTS, note)
    assert min(available for available, _ in seen) >= 3
    assert max(total for _, total in seen) <= 5
    sets = await stage.place.api.list(REPLICASETS, NAMESPACE)
    assert sorted(item["spec"]["replicas"] for item in sets) == [0, 4]
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


async def test_a_rollout_that_cannot_start_its_pods_says_so_after_its_deadline(stage: Stage) -> None:
    body = deployment(NAMESPACE, "it", replicas=1, image="app:1")
    body["spec"]["progressDeadlineSeconds"] = 20
    body["spec"]["template"]["spec"]["containers"] = [container(Play(image_missing=True))]
    await stage.create(DEPLOYMENTS, body)
    found = await stage.until(DEPLOYMENTS, lambda f: condition(f, "Progressing").get("status") == "False")
    assert condition(found, "Progressing")["reason"] == "ProgressDeadlineExceeded"
    assert condition(found, "Available")["status"] == "False"


async def test_a_deleted_pod_is_replaced(stage: Stage) -> None:
    await stage.create(DEPLOYMENTS, deployment(NAMESPACE, "it", replicas=2, image="app:1"))
    await stage.until(DEPLOYMENTS, rolled_out)
    before = await stage.all_pods()
    victim = before[0]["metadata"]
    await stage.place.api.delete(PODS, ObjectKey(NAMESPACE, victim["name"]), uid=victim["uid"], lane=Lane.READ)
    await stage.place.clock.sleep(40)
    after = await stage.all_pods()
    assert len(after) == 2
    assert victim["uid"] not in {pod["metadata"]["uid"] for pod in after}


async def test_a_job_runs_its_pod_and_is_complete(stage: Stage) -> None:
    await stage.create(JOBS, job(Play(seconds=3, log="done")))
    found = await stage.until(JOBS, is_("Complete"))
    assert (found["status"]["succeeded"], found["status"].get("active")) == (1, None)
    assert condition(found, "SuccessCriteriaMet")["reason"] == "CompletionsReached"
    assert found["status"]["completionTime"]
    (pod,) = await stage.all_pods()
    assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "it"
    assert stage.pods.log(NAMESPACE, pod["metadata"]["name"], "main") == "done\n"


async def test_a_job_needs_so_many_pods_some_at_once(stage: Stage) -> None:
    await stage.create(JOBS, job(Play(seconds=3), completions=5, parallelism=2))
    await stage.until(JOBS, lambda found: (found.get("status") or {}).get("active") == 2)
    found = await stage.until(JOBS, is_("Complete"))
    assert found["status"]["succeeded"] == 5
    assert len(await stage.all_pods()) == 5


async def test_a_suspended_job_has_no_pods_until_it_is_resumed(stage: Stage) -> None:
    await stage.create(JOBS, job(suspend=True))
    await stage.until(JOBS, is_("Suspended"))
    await stage.place.clock.sleep(10)
    assert await stage.all_pods() == []
    await stage.patch(JOBS, {"spec": {"suspend": False}})
    found = await stage.until(JOBS, is_("Complete"))
    assert condition(found, "Suspended")["status"] == "False"


async def test_a_job_tries_again_and_succeeds(stage: Stage) -> None:
    await stage.create(JOBS, job(Play(failures=2), backoffLimit=3))
    found = await stage.until(JOBS, is_("Complete"), seconds=120)
    assert (found["status"]["failed"], found["status"]["succeeded"]) == (2, 1)


async def test_a_job_gives_up_after_its_limit(stage: Stage) -> None:
    await stage.create(JOBS, job(Play(exit_code=3), backoffLimit=1))
    found = await stage.until(JOBS, is_("Failed"))
    assert condition(found, "Failed")["reason"] == "BackoffLimitExceeded"
    assert found["status"]["failed"] == 2
    assert "completionTime" not in found["status"]


async def test_a_job_that_is_active_too_long_is_ended_with_its_pod(stage: Stage) -> None:
    await stage.create(JOBS, job(Play(hang=True), activeDeadlineSeconds=5))
    found = await stage.until(JOBS, is_("Failed"))
    assert condition(found, "Failed")["reason"] == "DeadlineExceeded"
    await stage.place.clock.sleep(35)
    assert await stage.all_pods() == []


async def test_a_finished_job_goes_when_its_time_is_over(stage: Stage) -> None:
    await stage.create(JOBS, job(ttlSecondsAfterFinished=5))
    await stage.until(JOBS, is_("Complete"))
    await stage.place.clock.sleep(10)
    with pytest.raises(NotFound):
        await stage.place.api.get(JOBS, KEY)
    assert await stage.all_pods() == []


async def test_a_pod_that_ignores_sigterm_stays_for_its_grace(stage: Stage) -> None:
    body = {"metadata": {"name": "it", "namespace": NAMESPACE}, "spec": {"restartPolicy": "Never"}}
    body["spec"] |= {"containers": [container(Play(hang=True, ignores_term=True))], "terminationGracePeriodSeconds": 9}  # type: ignore[dict-item]  # a JSON object
    made = await stage.create(PODS, body)
    await stage.until(PODS, lambda found: found["status"]["phase"] == "Running")
    await stage.place.api.delete(PODS, KEY, uid=made["metadata"]["uid"], lane=Lane.READ)
    await stage.place.clock.sleep(8.5)
    assert (await stage.place.api.get(PODS, KEY))["metadata"]["deletionTimestamp"]
    await stage.place.clock.sleep(1)
    with pytest.raises(NotFound):
        await stage.place.api.get(PODS, KEY)


async def test_a_container_that_crashes_is_restarted(stage: Stage) -> None:
    spec = {"containers": [container(Play(exit_code=1))]}
    await stage.create(PODS, {"metadata": {"name": "it", "namespace": NAMESPACE}, "spec": spec})
    found = await stage.until(
        PODS, lambda f: (f["status"].get("containerStatuses") or [{}])[0].get("restartCount", 0) >= 2
    )
    assert found["status"]["phase"] == "Running"


@pytest.mark.parametrize("speed", [1.0, 10.0])
async def test_speed_shortens_what_is_played(speed: float) -> None:
    async with embedded(random.Random(7)) as place:
        await place.namespace(NAMESPACE)
        async with _playing(place, speed) as stage:
            began = place.clock.monotonic()
            await stage.create(JOBS, job(Play(seconds=20)))
            await stage.until(JOBS, is_("Complete"))
            assert place.clock.monotonic() - began == pytest.approx(20.3 / speed, abs=0.4)


async def test_a_simulator_that_is_started_again_goes_on(stage: Stage) -> None:
    """What a pod has gone through stands in its status, not in the simulator."""
    await stage.create(JOBS, job(Play(seconds=20)))
    await stage.until(JOBS, lambda found: (found.get("status") or {}).get("ready") == 1)
    await asyncio.sleep(5)
    began = stage.place.clock.monotonic()
    async with embedded(random.Random(8)), _playing(stage.place):
        await stage.until(JOBS, is_("Complete"))
    assert stage.place.clock.monotonic() - began < 17
    assert len(await stage.all_pods()) == 1
