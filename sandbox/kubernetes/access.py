"""Authentication and authorization: bearer tokens, their accounts, the rules of these, and the kinds of RBAC.

Accounts are set up by who uses the sandbox; Roles and their bindings are only stored.
https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.kubernetes.errors import forbidden, unauthorized
from sandbox.kubernetes.kinds import AGE, Kind, computed_column
from sandbox.kubernetes.objects import Object, at_path

ADMIN = "sandbox-admin"
ALL = "*"

RBAC = "rbac.authorization.k8s.io"
_ROLE_COLUMN = computed_column(
    "Role", lambda binding: f"{at_path(binding, ['roleRef', 'kind'])}/{at_path(binding, ['roleRef', 'name'])}"
)
ROLE = Kind(RBAC, "v1", "roles", "Role", columns=(AGE,), has_generation=False)
CLUSTER_ROLE = Kind(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False, columns=(AGE,), has_generation=False)
ROLE_BINDING = Kind(RBAC, "v1", "rolebindings", "RoleBinding", columns=(_ROLE_COLUMN, AGE), has_generation=False)
CLUSTER_ROLE_BINDING = Kind(
    RBAC,
    "v1",
    "clusterrolebindings",
    "ClusterRoleBinding",
    namespaced=False,
    columns=(_ROLE_COLUMN, AGE),
    has_generation=False,
)
ACCESS_REVIEW = Kind(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=("create",),
    has_generation=False,
)

KINDS = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING, ACCESS_REVIEW)


@dataclass(frozen=True)
class Rule:
    """Verbs on resources (`deployments`, `deployments/scale`, `*`) of API groups, in namespaces; `*` is any."""

    verbs: Sequence[str]
    resources: Sequence[str]
    groups: Sequence[str] = (ALL,)
    namespaces: Sequence[str] = (ALL,)

    def allows(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        pairs = ((self.verbs, verb), (self.groups, group), (self.resources, resource), (self.namespaces, namespace))
        return all(ALL in allowed or value in allowed for allowed, value in pairs)


@dataclass(frozen=True)
class Account:
    """A user name, its rules, and what has been allowed so far: verb, group, resource, namespace."""

    name: str
    rules: Sequence[Rule]
    used: set[tuple[str, str, str, str]] = field(default_factory=set, compare=False)

    def may(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        return any(rule.allows(verb, group, resource, namespace) for rule in self.rules)


class Accounts:
    """The accounts by their tokens.

    kubectl and helm send no token over plain HTTP (client-go's clientcmd reads it for TLS only), so a request without
    one is by `anonymous`: the admin, as behind `kubectl proxy`. What they do send is whom they impersonate.
    """

    def __init__(self) -> None:
        admin = Account("kubernetes-admin", [Rule([ALL], [ALL])])
        self.anonymous = admin
        self._by_token = {ADMIN: admin}

    def add(self, token: str, name: str, rules: Sequence[Rule]) -> Account:
        self._by_token[token] = Account(name, rules)
        return self._by_token[token]

    def account(self, authorization: str, impersonated: str = "") -> Account:
        """Return the account of a request by its headers `Authorization` and `Impersonate-User`.

        An unknown impersonated user may do nothing. Raises StatusError 401 for an unknown token.
        """
        scheme, _, token = authorization.partition(" ")
        account = self._by_token.get(token.strip()) if authorization else self.anonymous
        if account is None or (authorization and scheme.lower() != "bearer"):
            raise unauthorized()
        if not impersonated:
            return account
        by_name = {account.name: account for account in self._by_token.values()}
        return by_name.get(impersonated, Account(impersonated, []))


def check_access(account: Account, verb: str, kind: Kind, namespace: str, name: str, subresource: str = "") -> None:
    """Raise StatusError 403 if no rule of the account allows it. Access reviews are open to every account."""
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    if kind is ACCESS_REVIEW:
        return
    if not account.may(verb, kind.group, resource, namespace):
        raise forbidden(account.name, verb, kind, namespace, name, subresource)
    account.used.add((verb, kind.group, resource, namespace))


def review_access(account: Account, review: Object) -> Object:
    """Answer a SelfSubjectAccessReview."""
    attributes = (review.get("spec") or {}).get("resourceAttributes") or {}
    resource = "/".join(part for part in (attributes.get("resource", ""), attributes.get("subresource", "")) if part)
    allowed = account.may(
        attributes.get("verb", ""), attributes.get("group", ""), resource, attributes.get("namespace", "")
    )
    return {
        "kind": ACCESS_REVIEW.name,
        "apiVersion": ACCESS_REVIEW.api_version,
        "metadata": {},
        "spec": review.get("spec") or {},
        "status": {"allowed": allowed},
    }
