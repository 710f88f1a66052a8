"""Who asks, and whether they may: bearer tokens, and the RBAC policy of the stored roles and bindings.

``rbac`` decides; this module keeps its Policy up to date (a new one after every change of a role or binding) and knows
the tokens: those given at the start, those of TokenRequest, and those of service accounts handed out by the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import unquote

from wfe_controller.sandbox.apiserver import routes
from wfe_controller.sandbox.apiserver.core import Core
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.rbac import (
    ANONYMOUS,
    AUTHENTICATED,
    RBAC_GROUP,
    SERVICE_ACCOUNTS,
    UNAUTHENTICATED,
    Attributes,
    Decision,
    Policy,
    User,
    denial,
)
from wfe_controller.sandbox.apiserver.status import StatusError, bad_request, forbidden, quote, unauthorized
from wfe_controller.sandbox.apiserver.store import Event, Table

_TABLES = {
    f"{name}.{RBAC_GROUP}": argument
    for name, argument in (
        ("clusterroles", "cluster_roles"),
        ("roles", "roles"),
        ("clusterrolebindings", "cluster_role_bindings"),
        ("rolebindings", "role_bindings"),
    )
}


AUTHENTICATION = "authentication.k8s.io"
AUDIENCE = "https://kubernetes.default.svc"
CREDENTIAL = "authentication.kubernetes.io/credential-id"
"""In a user's extra: which token of a service account it was."""
_EXTRA = "impersonate-extra-"
_EXTRA_SPACE = "the provided Authorization header contains extra space before the bearer token, and is ignored"


@dataclass(frozen=True, slots=True)
class Token:
    """What a bearer token stands for. ``account`` is (namespace, name, uid) of a service account."""

    user: User
    expires: datetime | None = None
    account: tuple[str, str, str] | None = None
    audiences: tuple[str, ...] = ()


class Auth:
    """Tokens and rights of one server."""

    def __init__(self, core: Core, tokens: Mapping[str, User]) -> None:
        self._core = core
        self._tokens = {token: Token(user, audiences=(AUDIENCE,)) for token, user in tokens.items()}
        self._policy: Policy | None = None
        self._others: set[str] = set()
        """Users who were somebody else."""
        core.store.observers.append(self._notice)

    def _notice(self, table: Table, event: Event) -> None:
        if table.name in _TABLES:
            self._policy = None

    @property
    def policy(self) -> Policy:
        """The rights as they are stored now."""
        if self._policy is None:
            objects = {
                argument: [stored.decode() for stored in self._core.store.table(name).objects.values()]
                for name, argument in _TABLES.items()
            }
            self._policy = Policy(**objects)
        return self._policy

    def issue(self, token: str, found: Token) -> None:
        """Make a token known."""
        self._tokens[token] = found

    def look_up(self, token: str) -> Token | None:
        """What a token stands for; None when it is unknown, expired, or its service account is gone."""
        found = self._tokens.get(token)
        if found is None or (found.expires is not None and found.expires <= self._core.now()):
            return None
        if found.account is not None:
            namespace, name, uid = found.account
            stored = self._core.store.table("serviceaccounts").get(f"{namespace}/{name}")
            if stored is None or stored.uid != uid:
                return None
        return found

    def user(self, request: Request, warnings: list[str] | None = None) -> User:
        """Who sent a request. Raises 401 for a token that is not (or no longer) good."""
        return self._impersonated(request, self._sender(request, [] if warnings is None else warnings))

    def _sender(self, request: Request, warnings: list[str]) -> User:
        scheme, *parts = request.header("authorization").strip().split(" ", 2)
        if scheme.lower() != "bearer" or not parts or not parts[0]:
            # No token at all is anonymous; so is another scheme, as nobody here understands it.
            if scheme.lower() == "bearer" and len(parts) > 1:
                warnings.append(_EXTRA_SPACE)
            return ANONYMOUS
        found = self.look_up(parts[0])
        if found is None:
            raise unauthorized()
        return found.user

    def _impersonated(self, request: Request, user: User) -> User:
        """Somebody else, when the headers say so and the user may. Raises 403."""
        name = request.header("impersonate-user")
        uid = request.header("impersonate-uid")
        groups = tuple(group for group in request.header("impersonate-group").split(",") if group)
        extra = {
            unquote(header.removeprefix(_EXTRA)): tuple(value.split(","))
            for header, value in sorted(request.headers.items())
            if header.startswith(_EXTRA)
        }
        if not name:
            if groups or uid or extra:
                raise bad_request(f"requested {_go_user(uid, groups, extra)} without impersonating a user name")
            return user
        wanted = [Attributes("impersonate", resource="users", name=name)]
        mode = "user-info"
        if name.startswith("system:serviceaccount:") and name.count(":") == 3:
            _, _, namespace, account = name.split(":")
            wanted = [Attributes("impersonate", resource="serviceaccounts", name=account, namespace=namespace)]
            mode = "serviceaccount"
        wanted += [Attributes("impersonate", resource="groups", name=group) for group in groups]
        if uid:
            wanted.append(Attributes("impersonate", AUTHENTICATION, "uids", name=uid))
        for key, values in extra.items():
            wanted += [Attributes("impersonate", AUTHENTICATION, "userextras", key, value) for value in values]
        for one in wanted:
            if not self.decide(user, one).allowed:
                attributes = routes.parse(request).attributes
                attributes = replace(attributes, verb=f"impersonate-on:{mode}:{attributes.verb}")
                # Whoever was somebody else before is told which right he lacks, as of old.
                raise self.refusal(user, one if user.name in self._others else attributes, Decision(False))
        self._others.add(user.name)
        if mode == "serviceaccount" and not groups:
            groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}")
        known = {AUTHENTICATED, UNAUTHENTICATED}.intersection(groups)
        added = () if known else (UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED,)
        return User(name, uid, (*groups, *added), extra)

    def decide(self, user: User, attributes: Attributes) -> Decision:
        return self.policy.authorize(user, attributes)

    def require(self, user: User, attributes: Attributes) -> None:
        """Raises 403 in the words of the real server."""
        decision = self.decide(user, attributes)
        if not decision.allowed:
            raise self.refusal(user, attributes, decision)

    @staticmethod
    def refusal(user: User, attributes: Attributes, decision: Decision) -> StatusError:
        return forbidden(
            attributes.group, attributes.resource, attributes.name, denial(user, attributes, decision.reason)
        )


def _go_user(uid: str, groups: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]) -> str:
    """Somebody without a name as Go prints it."""

    def texts(values: tuple[str, ...]) -> str:
        return f"[]string{{{', '.join(map(quote, values))}}}" if values else "[]string(nil)"

    pairs = ", ".join(f"{quote(key)}:{texts(values)}" for key, values in extra.items())
    shown = f"map[string][]string{{{pairs}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quote(uid)}, Groups:{texts(groups)}, Extra:{shown}}}'
