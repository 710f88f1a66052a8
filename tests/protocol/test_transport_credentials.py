"""Tokens, certificates and kubeconfigs that change while we run, and those that are wrong from the start (W10)."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.certs import Pair, issue, make_ca
from tests.support.rawserver import Exchange, RawServer, ok, require_token, stream
from wfe_controller.kube import errors
from wfe_controller.kube.client import credentials
from wfe_controller.kube.client.credentials import Identity
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock

PATH = "/api/v1/namespaces/ns/pods"


class Shifted(RealClock):
    """Real time plus an offset that the test moves."""

    def __init__(self) -> None:
        self.offset = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.offset


@asynccontextmanager
async def connected(kubeconfig: str | None, clock: Shifted | None = None, **settings: Any) -> AsyncIterator[Transport]:
    transport = await Transport.connect(ConnectionSettings(kubeconfig, **settings), clock=clock or Shifted())
    try:
        yield transport
    finally:
        await transport.close()


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer() as running:
        yield running


async def status(transport: Transport) -> int:
    return (await transport.request("GET", PATH, timeout=5)).status


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Pair]:
    """Two authorities, a server certificate from each, and two client certificates from the first."""
    directory = tmp_path_factory.mktemp("pki")
    one, two = make_ca(directory, "ca-one"), make_ca(directory, "ca-two")
    return {
        "ca-one": one,
        "ca-two": two,
        "server-one": issue(one, directory, "server-one"),
        "server-two": issue(two, directory, "server-two"),
        "server-name": issue(one, directory, "server-name", host="DNS:kubernetes.default.svc"),
        "client-a": issue(one, directory, "client-a"),
        "client-b": issue(one, directory, "client-b"),
    }


# -- bearer tokens


async def test_rotated_token_is_used_within_a_minute_without_any_401(server: RawServer, tmp_path: Path) -> None:
    """W10: requests started 60 s after the last reading carry the new token; before that the file is left alone."""
    token, clock = tmp_path / "token", Shifted()
    token.write_text("t1\n")
    server.on("GET", PATH, ok({}))
    async with connected(server.kubeconfig(tmp_path / "kc", user={"tokenFile": str(token)}), clock) as transport:
        await status(transport)
        token.write_text("t2\n")
        clock.offset = 59
        await status(transport)
        clock.offset = 60.1
        await status(transport)
    assert [r.token for r in server.requests] == ["t1", "t1", "t2"]


async def test_three_rotations_with_the_old_token_revoked_fail_nothing(server: RawServer, tmp_path: Path) -> None:
    """W10: on 401 the file is read at once and the request sent exactly once more."""
    token, clock = tmp_path / "token", Shifted()
    token.write_text("t0")
    valid = ["t0"]
    server.on("GET", PATH, require_token(lambda: valid[0], ok({})))
    async with connected(server.kubeconfig(tmp_path / "kc", user={"tokenFile": str(token)}), clock) as transport:
        for name in ("t1", "t2", "t3"):
            assert await status(transport) == 200
            token.write_text(name)
            valid[0] = name
            clock.offset += 10
            assert await status(transport) == 200
    assert [r.token for r in server.requests] == ["t0", "t0", "t1", "t1", "t1", "t2", "t2", "t2", "t3"]


async def test_many_requests_refused_at_once_reload_once(server: RawServer, tmp_path: Path) -> None:
    """20 requests in flight with the revoked token: each is repeated once, with the new one."""
    token = tmp_path / "token"
    token.write_text("old")
    server.on("GET", PATH, require_token(lambda: "new", ok({})))
    async with connected(server.kubeconfig(tmp_path / "kc", user={"tokenFile": str(token)})) as transport:
        token.write_text("new")
        assert await asyncio.gather(*(status(transport) for _ in range(20))) == [200] * 20
    assert sorted(r.token for r in server.requests) == ["new"] * 20 + ["old"] * 20


async def test_a_token_that_stays_refused_costs_two_requests(server: RawServer, tmp_path: Path) -> None:
    server.on("GET", PATH, require_token(lambda: "other", ok({})))
    async with connected(server.kubeconfig(tmp_path / "kc")) as transport:
        assert await status(transport) == 401
    assert len(server.requests) == 2


async def test_a_token_file_that_vanishes_for_a_moment_keeps_the_old_token(server: RawServer, tmp_path: Path) -> None:
    token, clock = tmp_path / "token", Shifted()
    token.write_text("t1")
    server.on("GET", PATH, ok({}))
    async with connected(server.kubeconfig(tmp_path / "kc", user={"tokenFile": str(token)}), clock) as transport:
        token.unlink()
        clock.offset = 61
        assert await status(transport) == 200
        token.write_text("t2")
        clock.offset = 122
        assert await status(transport) == 200
    assert [r.token for r in server.requests] == ["t1", "t2"]


async def test_an_edited_kubeconfig_is_read_again_after_401(server: RawServer, tmp_path: Path) -> None:
    """Static tokens: somebody logged in again in another terminal."""
    kubeconfig = server.kubeconfig(tmp_path / "kc", user={"token": "old"})
    server.on("GET", PATH, require_token(lambda: "new", ok({})))
    async with connected(kubeconfig) as transport:
        server.kubeconfig(tmp_path / "kc", user={"token": "new"})
        assert await status(transport) == 200


async def test_user_and_password(server: RawServer, tmp_path: Path) -> None:
    server.on("GET", PATH, ok({}))
    kubeconfig = server.kubeconfig(tmp_path / "kc", user={"username": "u", "password": "p"})
    async with connected(kubeconfig) as transport:
        await status(transport)
    expected = "Basic " + base64.b64encode(b"u:p").decode()
    assert server.requests[0].headers["authorization"] == expected


# -- exec plugins


def plugin(tmp_path: Path, expires: str | None = None, then: str = "") -> dict[str, Any]:
    """A credential plugin that hands out token-1, token-2, ... and counts its runs in a file."""
    credential = {"expirationTimestamp": expires} if expires else {}
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, os, sys\n"
        f"path = {str(tmp_path / 'runs')!r}\n"
        "runs = int(open(path).read()) + 1 if os.path.exists(path) else 1\n"
        "open(path, 'w').write(str(runs))\n"
        f"{then}\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        f"status = dict({credential!r}, token=f'token-{{runs}}')\n"
        "print(json.dumps({'apiVersion': info['apiVersion'], 'kind': 'ExecCredential', 'status': status}))\n"
    )
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-S", str(script)]}
    return {"exec": {**command, "interactiveMode": "Never"}}


async def test_plugin_token_is_kept_until_it_is_refused(server: RawServer, tmp_path: Path) -> None:
    """As in client-go: without an expiry the program runs at start and after a 401, not every minute."""
    valid, clock = ["token-1"], Shifted()
    server.on("GET", PATH, require_token(lambda: valid[0], ok({})))
    async with connected(server.kubeconfig(tmp_path / "kc", user=plugin(tmp_path)), clock) as transport:
        for minutes in range(3):
            clock.offset = 61.0 * minutes
            assert await status(transport) == 200
        valid[0] = "token-2"
        assert await status(transport) == 200
    assert [r.token for r in server.requests] == ["token-1"] * 4 + ["token-2"]


async def test_plugin_token_that_ends_soon_is_replaced_before(server: RawServer, tmp_path: Path) -> None:
    clock = Shifted()
    server.on("GET", PATH, ok({}))
    user = plugin(tmp_path, expires="2020-01-01T00:00:00Z")
    async with connected(server.kubeconfig(tmp_path / "kc", user=user), clock) as transport:
        await status(transport)
        clock.offset = 61
        await status(transport)
    assert [r.token for r in server.requests] == ["token-1", "token-2"]


async def test_plugin_token_with_a_far_end_is_kept(server: RawServer, tmp_path: Path) -> None:
    clock = Shifted()
    server.on("GET", PATH, ok({}))
    user = plugin(tmp_path, expires="2999-01-01T00:00:00Z")
    async with connected(server.kubeconfig(tmp_path / "kc", user=user), clock) as transport:
        clock.offset = 61
        await status(transport)
    assert server.requests[0].token == "token-1"


async def test_plugin_of_a_refused_user_does_not_run_per_request(server: RawServer, tmp_path: Path) -> None:
    server.on("GET", PATH, require_token(lambda: "never", ok({})))
    async with connected(server.kubeconfig(tmp_path / "kc", user=plugin(tmp_path))) as transport:
        for _ in range(5):
            assert await status(transport) == 401
    assert len(server.requests) == 10
    assert int((tmp_path / "runs").read_text()) <= 3


async def test_plugin_that_fails_at_the_start_is_one_clear_line(server: RawServer, tmp_path: Path) -> None:
    user = plugin(tmp_path, then="sys.exit('please log in first')")
    with pytest.raises(errors.KubeConfigError, match="please log in first") as raised:
        await Transport.connect(ConnectionSettings(server.kubeconfig(tmp_path / "kc", user=user)), clock=RealClock())
    assert "\n" not in str(raised.value)


async def test_plugin_that_hangs_delays_a_request_but_does_not_stop_it(
    server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W7, W10: the old token is good for minutes yet; a lease renewal must not wait for somebody's login program."""
    monkeypatch.setattr(credentials, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "fifo")
    pipe = os.open(tmp_path / "fifo", os.O_RDWR)
    user = plugin(tmp_path, "2020-01-01T00:00:00Z", then=f"runs == 2 and open({str(tmp_path / 'fifo')!r}).readline()")
    refused: set[str] = set()

    async def handler(exchange: Exchange) -> None:
        await exchange.json({}, 401 if exchange.request.token in refused else 200)

    server.on("GET", PATH, handler)
    clock = Shifted()
    async with connected(server.kubeconfig(tmp_path / "kc", user=user), clock) as transport:
        clock.offset = 61
        assert await status(transport) == 200
        assert await status(transport) == 200
        refused.add("token-1")
        with pytest.raises(errors.RequestTimeout, match=r"within 0\.3 s"):
            await transport.request("GET", PATH, timeout=0.3)
        os.write(pipe, b"go on\n")
        assert await status(transport) == 200
    os.close(pipe)
    assert [r.token for r in server.requests] == ["token-1"] * 4 + ["token-2"]
    assert (tmp_path / "runs").read_text() == "2"


async def test_closing_ends_a_reload_that_still_runs(server: RawServer) -> None:
    started = asyncio.Event()

    async def load(from_scratch: bool) -> Identity:
        if started.is_set():
            await asyncio.Event().wait()
        started.set()
        return Identity(server.url, "Bearer t")

    held = credentials.Credentials(load, Shifted())
    await held.load()
    await held.refused("Bearer t", within=0)
    before = asyncio.all_tasks()
    await held.close()
    assert len(asyncio.all_tasks()) == len(before) - 1


# -- certificates


async def test_certificates_as_inline_data(pki: Mapping[str, Pair], tmp_path: Path) -> None:
    """What kind and most clouds write: everything base64 inside the kubeconfig."""

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    async with RawServer(pki["server-one"].server_context(pki["ca-one"].cert)) as server:
        server.on("GET", PATH, ok({}))
        user = {
            "client-certificate-data": data(pki["client-a"].cert),
            "client-key-data": data(pki["client-a"].key),
        }
        kubeconfig = server.kubeconfig(tmp_path / "kc", user=user, certificate_authority_data=data(pki["ca-one"].cert))
        async with connected(kubeconfig) as transport:
            assert await status(transport) == 200
    assert server.requests[0].client_name == "client-a"
    assert "authorization" not in server.requests[0].headers


async def test_a_server_of_another_authority_is_not_trusted(pki: Mapping[str, Pair], tmp_path: Path) -> None:
    async with RawServer(pki["server-two"].server_context()) as server:
        kubeconfig = server.kubeconfig(tmp_path / "kc", certificate_authority=str(pki["ca-one"].cert))
        async with connected(kubeconfig) as transport:
            with pytest.raises(errors.ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await status(transport)
            with pytest.raises(errors.ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED"):
                async with transport.stream(PATH):
                    pytest.fail("opened")
        insecure = server.kubeconfig(tmp_path / "kc", insecure_skip_tls_verify=True)
        server.on("GET", PATH, ok({}))
        async with connected(insecure) as transport:
            assert await status(transport) == 200


async def test_tls_server_name(pki: Mapping[str, Pair], tmp_path: Path) -> None:
    async with RawServer(pki["server-name"].server_context()) as server:
        server.on("GET", PATH, ok({}))
        cluster = {"certificate_authority": str(pki["ca-one"].cert), "tls_server_name": "kubernetes.default.svc"}
        async with connected(server.kubeconfig(tmp_path / "kc", **cluster)) as transport:
            assert await status(transport) == 200


async def test_a_replaced_authority_is_found_at_the_first_failed_handshake(
    pki: Mapping[str, Pair], tmp_path: Path
) -> None:
    """W10, for the CA: the server comes back with a certificate of the new one; no request fails, no watch either."""
    ca = tmp_path / "ca.crt"
    shutil.copy(pki["ca-one"].cert, ca)
    async with RawServer(pki["server-one"].server_context()) as first:
        port = first.port
        first.on("GET", PATH, ok({}))
        kubeconfig = first.kubeconfig(tmp_path / "kc", certificate_authority=str(ca))
        transport = await Transport.connect(ConnectionSettings(kubeconfig), clock=RealClock())
        assert await status(transport) == 200
    async with RawServer(pki["server-two"].server_context(), port=port) as second:
        second.on("GET", PATH, ok({}))
        with pytest.raises(errors.ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await status(transport)
        shutil.copy(pki["ca-two"].cert, ca)
        assert await status(transport) == 200
        second.forget()
        second.on("GET", PATH, stream(b"{}\n"))
        async with transport.stream(PATH) as opened:
            assert [line async for line in opened] == [b"{}"]
        await transport.close()


async def test_a_watch_alone_finds_the_replaced_authority_too(pki: Mapping[str, Pair], tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    shutil.copy(pki["ca-one"].cert, ca)
    async with RawServer(pki["server-two"].server_context()) as server:
        server.on("GET", PATH, stream(b"{}\n"))
        async with connected(server.kubeconfig(tmp_path / "kc", certificate_authority=str(ca))) as transport:
            shutil.copy(pki["ca-two"].cert, ca)
            async with transport.stream(PATH) as opened:
                assert [line async for line in opened] == [b"{}"]


async def test_client_certificate_rotation_opens_new_connections_and_spares_open_watches(
    pki: Mapping[str, Pair], tmp_path: Path
) -> None:
    """W10: within a minute the new certificate is shown; the watch of before ends in its own time, then its pool."""
    cert, key, clock = tmp_path / "c.crt", tmp_path / "c.key", Shifted()
    shutil.copy(pki["client-a"].cert, cert)
    shutil.copy(pki["client-a"].key, key)
    async with RawServer(pki["server-one"].server_context(pki["ca-one"].cert)) as server:
        go = asyncio.Event()

        async def watch(exchange: Any) -> None:
            await exchange.start()
            await exchange.send(b"1\n")
            await go.wait()
            await exchange.send(b"2\n")
            await exchange.end()

        server.on("GET", PATH, ok({}))
        server.on("GET", "/watch", watch)
        user = {"client-certificate": str(cert), "client-key": str(key)}
        kubeconfig = server.kubeconfig(tmp_path / "kc", user=user, certificate_authority=str(pki["ca-one"].cert))
        async with connected(kubeconfig, clock) as transport:
            await status(transport)
            async with transport.stream("/watch") as opened:
                assert await anext(opened) == b"1"
                # Half a rotation: certificate and key do not fit, what works is kept.
                shutil.copy(pki["client-b"].cert, cert)
                clock.offset = 61
                await status(transport)
                shutil.copy(pki["client-b"].key, key)
                clock.offset = 122
                await status(transport)
                go.set()
                assert [line async for line in opened] == [b"2"]
            # A file that is only touched is no rotation.
            before = server.connections
            os.utime(cert)
            clock.offset = 183
            await status(transport)
            assert server.connections == before
            await server.wait_for(lambda: server.open_connections == 1)
    assert [r.client_name for r in server.seen(path=PATH)] == ["client-a", "client-a", "client-b", "client-b"]


# -- where the configuration comes from


def service_account(directory: Path, pki: Mapping[str, Pair], token: str = "sa-token") -> str:
    directory.mkdir()
    (directory / "token").write_text(token)
    (directory / "namespace").write_text("kubernaut-system\n")
    shutil.copy(pki["ca-one"].cert, directory / "ca.crt")
    return str(directory)


async def test_in_cluster(pki: Mapping[str, Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod's service account, when nothing else was said; its token and CA rotate as any other file."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    async with RawServer(pki["server-one"].server_context()) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        directory = service_account(tmp_path / "sa", pki, "t1\n")
        server.on("GET", PATH, require_token(lambda: "t2", ok({})))
        async with connected(None, service_account_dir=directory) as transport:
            assert transport.namespace == "kubernaut-system"
            (tmp_path / "sa" / "token").write_text("t2")
            assert await status(transport) == 200
    assert [r.token for r in server.requests] == ["t1", "t2"]


async def test_order_of_sources(
    server: RawServer, pki: Mapping[str, Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting, KUBECONFIG, service account, home: the first that is there."""
    directory = service_account(tmp_path / "sa", pki)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    configs = {}
    for name in ("setting", "environment", ".kube/config"):
        path = tmp_path / name
        configs[name] = server.kubeconfig(path)
        path.write_bytes(path.read_bytes().replace(b"raw-ns", name.replace("/", "-").encode()))
    monkeypatch.setenv("KUBECONFIG", configs["environment"])
    async with connected(configs["setting"], service_account_dir=directory) as transport:
        assert transport.namespace == "setting"
    async with connected(None, service_account_dir=directory) as transport:
        assert transport.namespace == "environment"
    monkeypatch.delenv("KUBECONFIG")
    async with connected(None, service_account_dir=directory) as transport:
        assert transport.server == "https://10.0.0.1:443"
    async with connected(None, service_account_dir=str(tmp_path / "nothing")) as transport:
        assert transport.namespace == ".kube-config"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "kubeconfig"),
        (b"just words", "kubeconfig"),
        (b"a: [b", "kubeconfig"),
        (b"\x00\xff", "kubeconfig"),
        (b"{}", "current-context"),
        (b"apiVersion: v1\nkind: Config\ncurrent-context: gone\ncontexts: []\nclusters: []\n", "gone"),
    ],
    ids=["missing", "empty", "no mapping", "no YAML", "binary", "no context", "unknown context"],
)
async def test_a_bad_kubeconfig_is_one_line_naming_the_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "kc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.KubeConfigError) as raised:
        await Transport.connect(ConnectionSettings(str(path)), clock=RealClock())
    message = str(raised.value)
    assert str(path) in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"server": "127.0.0.1:6443"}, {}, "not a URL"),
        ({"server": "https://[::1"}, {}, "not a URL"),
        ({"server": "https://h", "certificate-authority": "/nowhere/ca.crt"}, {}, "/nowhere/ca.crt"),
        ({"server": "https://h", "certificate-authority-data": "bm90IFBFTQ=="}, {}, "certificates"),
        ({"server": "https://h", "certificate-authority-data": "%%%"}, {}, "kubeconfig"),
        ({"server": "https://h"}, {"client-certificate": "/nowhere/c.crt"}, "/nowhere/c.crt"),
        ({"server": "https://h"}, {"tokenFile": "/nowhere/token"}, "/nowhere/token"),
        ({}, {}, "server"),
    ],
    ids=[
        "not a URL",
        "half a URL",
        "no CA file",
        "CA not PEM",
        "CA not base64",
        "no client certificate",
        "no token",
        "no server",
    ],
)
async def test_a_kubeconfig_that_points_nowhere_says_where(
    tmp_path: Path, cluster: dict[str, str], user: dict[str, str], words: str
) -> None:
    path = tmp_path / "kc"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster or {"x": "y"}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
    }
    path.write_bytes(msgspec.json.encode(config))
    with pytest.raises(errors.KubeConfigError) as raised:
        await Transport.connect(ConnectionSettings(str(path)), clock=RealClock())
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_context_without_user_says_so(server: RawServer, tmp_path: Path) -> None:
    path = tmp_path / "kc"
    server.kubeconfig(path)
    config = msgspec.json.decode(path.read_bytes())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"
    del config["users"], config["contexts"][0]["context"]["user"]
    path.write_bytes(msgspec.json.encode(config))
    with pytest.raises(errors.KubeConfigError, match="lacks cluster or user"):
        await Transport.connect(ConnectionSettings(str(path)), clock=RealClock())
