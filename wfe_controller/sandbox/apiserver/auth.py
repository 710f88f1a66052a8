"""Who asks, and whether they may: bearer tokens, and the RBAC policy of the stored roles and bindings.

``rbac`` decides; this module keeps its Policy up to date (a new one after every change of a role or binding) and knows
the tokens: those given at the start, those of TokenRequest, and those of service accounts handed out by the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from wfe_controller.sandbox.apiserver import routes
from wfe_controller.sandbox.apiserver.core import Core
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.rbac import ANONYMOUS, RBAC_GROUP, Attributes, Decision, Policy, User, denial
from wfe_controller.sandbox.apiserver.status import StatusError, forbidden, unauthorized
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


AUDIENCE = "https://kubernetes.default.svc"


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

    def user(self, request: Request) -> User:
        """Who sent a request. Raises 401 for a token that is not (or no longer) good."""
        header = request.header("authorization")
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            # No token at all is anonymous; so is another scheme, as nobody here understands it.
            return ANONYMOUS
        found = self.look_up(token.strip())
        if found is None:
            raise unauthorized()
        return self._impersonated(request, found.user)

    def _impersonated(self, request: Request, user: User) -> User:
        """Somebody else, when the headers say so and the user may. Raises 403."""
        name = request.header("impersonate-user")
        if not name:
            return user
        groups = tuple(group for group in request.header("impersonate-group").split(",") if group)
        wanted = [Attributes("impersonate", resource="users", name=name)]
        if name.startswith("system:serviceaccount:") and name.count(":") == 3:
            _, _, namespace, account = name.split(":")
            wanted = [Attributes("impersonate", resource="serviceaccounts", name=account, namespace=namespace)]
        wanted += [Attributes("impersonate", resource="groups", name=group) for group in groups]
        if not all(self.decide(user, attributes).allowed for attributes in wanted):
            attributes = routes.parse(request).attributes
            attributes = replace(attributes, verb=f"impersonate-on:user-info:{attributes.verb}")
            raise self.refusal(user, attributes, Decision(False))
        if name == ANONYMOUS.name:
            return ANONYMOUS
        return User.known(name, groups=groups)

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
