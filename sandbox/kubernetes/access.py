"""Who may do what: bearer tokens, the accounts they stand for, and the rules of those.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.problems import forbidden, unauthorized
from sandbox.kubernetes.resources.others import ACCESS_REVIEW

ADMIN = "sandbox-admin"
ALL = "*"


@dataclass(frozen=True)
class Rule:
    """Verbs on resources (`deployments`, `deployments/scale`, `*`) of API groups, in namespaces; `*` is any."""

    verbs: Sequence[str]
    resources: Sequence[str]
    groups: Sequence[str] = (ALL,)
    namespaces: Sequence[str] = (ALL,)

    def allows(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        pairs = ((self.verbs, verb), (self.groups, group), (self.resources, resource), (self.namespaces, namespace))
        return all(ALL in allowed or asked in allowed for allowed, asked in pairs)


@dataclass(frozen=True)
class Account:
    """A user name, what it may do, and what it has been allowed so far: verb, group, resource, namespace."""

    name: str
    rules: Sequence[Rule]
    used: set[tuple[str, str, str, str]] = field(default_factory=set, compare=False)

    def may(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        return any(rule.allows(verb, group, resource, namespace) for rule in self.rules)


class Accounts:
    """The accounts by their tokens.

    kubectl and helm send no token over plain HTTP (client-go's clientcmd reads it for TLS only), so a request without
    one is `anonymous`: the admin, as behind `kubectl proxy`. What they do send is whom they impersonate.
    """

    def __init__(self) -> None:
        admin = Account("kubernetes-admin", [Rule([ALL], [ALL])])
        self.anonymous = admin
        self._by_token = {ADMIN: admin}

    def add(self, token: str, name: str, rules: Sequence[Rule]) -> Account:
        self._by_token[token] = Account(name, rules)
        return self._by_token[token]

    def account(self, authorization: str, impersonated: str = "") -> Account:
        """Whose request it is by its headers `Authorization` and `Impersonate-User`.

        Problem 401 for a token that nobody has. One who is unknown may do nothing.
        """
        scheme, _, token = authorization.partition(" ")
        found = self._by_token.get(token.strip()) if authorization else self.anonymous
        if found is None or (authorization and scheme.lower() != "bearer"):
            raise unauthorized()
        if not impersonated:
            return found
        known = {account.name: account for account in self._by_token.values()}
        return known.get(impersonated, Account(impersonated, []))


def check(account: Account, verb: str, kind: Kind, namespace: str, name: str, subresource: str = "") -> None:
    """Problem 403 when no rule of the account allows it. Whoever has a token may ask what it may do."""
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    if kind is ACCESS_REVIEW:
        return
    if not account.may(verb, kind.group, resource, namespace):
        raise forbidden(account.name, verb, kind, namespace, name, subresource)
    account.used.add((verb, kind.group, resource, namespace))


def review(account: Account, asked: Object) -> Object:
    """A SelfSubjectAccessReview, answered."""
    what = (asked.get("spec") or {}).get("resourceAttributes") or {}
    resource = "/".join(part for part in (what.get("resource", ""), what.get("subresource", "")) if part)
    allowed = account.may(what.get("verb", ""), what.get("group", ""), resource, what.get("namespace", ""))
    head = {"kind": ACCESS_REVIEW.name, "apiVersion": ACCESS_REVIEW.api_version, "metadata": {}}
    return {**head, "spec": asked.get("spec") or {}, "status": {"allowed": allowed}}
