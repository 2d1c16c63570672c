"""Who may call a Lambda function through its alias, and its URL.

An invoker is a principal as ``add_permission`` takes it: a service (``events.amazonaws.com``), an account
(``123456789012``), a role or user ARN, or ``*``. After a space may follow the ARN of the one source that counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.aws.errors import found
from triplane.serverless.target import Log

SID: Final = "triplane-"
CONDITIONS: Final = "(with conditions)"
UNREACHABLE: Final = "nobody (its permission is missing)"
URL_SIDS: Final = ("triplane-url", "triplane-url-invoke")
_ROOT: Final = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):root")


@dataclass(frozen=True)
class Access:
    """What an alias allows: statement id -> invoker, and its URL (``none``, ``aws_iam`` or ``public``)."""

    invokers: Mapping[str, str] = field(default_factory=dict)
    url: str = "none"
    address: str = ""


def read(client: Any, name: str, alias: str) -> Access:
    """What is there now. Who may only call the URL is no invoker."""
    policy = found(client.get_policy, FunctionName=name, Qualifier=alias)
    statements = _statements(policy)
    url = found(client.get_function_url_config, FunctionName=name, Qualifier=alias)
    kind = "none"
    if url is not None:
        allowed = any(_opens_url(each) for each in statements)
        kind = "aws_iam" if url["AuthType"] == "AWS_IAM" else "public" if allowed else UNREACHABLE
    return Access(
        {each["Sid"]: invoker_of(each) for each in statements if _is_invoker(each)},
        kind,
        str((url or {}).get("FunctionUrl", "")),
    )


def allow(client: Any, name: str, alias: str, invokers: Sequence[str], log: Log) -> None:
    """Let exactly these call; what is there already stays."""
    there = read(client, name, alias).invokers
    for invoker in sorted(set(invokers) - set(there.values())):
        if invoker.endswith(CONDITIONS):
            log(f"{name}: the statement for {invoker} was made by hand and cannot be made again")
            continue
        log(f"{name}: {invoker} may call it")
        _permit(client, name, alias, sid_of(invoker), "lambda:InvokeFunction", **_principal(checked(invoker)))
    for sid, invoker in sorted(there.items()):
        if invoker not in invokers:
            log(f"{name}: {invoker} may not call it any more")
            found(client.remove_permission, FunctionName=name, StatementId=sid, Qualifier=alias)


def publish_url(client: Any, name: str, alias: str, url: str, log: Log) -> str:
    """Give the alias its URL, or take it away; returns it, "" for none."""
    there = read(client, name, alias)
    if url in (there.url, UNREACHABLE):
        return there.address
    which = {"FunctionName": name, "Qualifier": alias}
    if url != "public":
        for sid in URL_SIDS:
            found(client.remove_permission, StatementId=sid, **which)
    if url == "none":
        log(f"{name}: removing its URL")
        found(client.delete_function_url_config, **which)
        return ""
    log(f"{name}: URL for {'everybody' if url == 'public' else 'callers with an AWS identity'}")
    make = client.update_function_url_config if there.address else client.create_function_url_config
    address = str(make(AuthType="NONE" if url == "public" else "AWS_IAM", **which)["FunctionUrl"])
    if url == "public":
        auth = {"Principal": "*", "FunctionUrlAuthType": "NONE"}
        _permit(client, name, alias, URL_SIDS[0], "lambda:InvokeFunctionUrl", **auth)
        through = {"Principal": "*", "InvokedViaFunctionUrl": True}
        _permit(client, name, alias, URL_SIDS[1], "lambda:InvokeFunction", **through)
    return address


def checked(invoker: str) -> str:
    """:raises InputError: it is no principal, or written in another way than AWS gives it back"""
    principal, _, source = invoker.partition(" ")
    if root := _ROOT.fullmatch(principal):
        raise InputError(f"invokers: write {root[1]} for {principal}")
    known = principal == "*" or re.fullmatch(
        r"\d{12}|[a-z0-9.-]+\.amazonaws\.com(\.cn)?|arn:aws\S+", principal
    )
    if not known or (source and not re.fullmatch(r"arn:aws\S+", source)):
        raise InputError(
            f"invokers: {invoker!r} is no service, account or ARN, with the ARN of a source after a space"
        )
    return invoker


def sid_of(invoker: str) -> str:
    """The id of its statement: the same for the same invoker."""
    return SID + hashlib.sha256(invoker.encode()).hexdigest()[:16]


def invoker_of(statement: Mapping[str, Any]) -> str:
    """Whom a statement allows; a condition that we do not write makes it another invoker."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        ((_, principal),) = principal.items()
    text = str(principal)
    if root := _ROOT.fullmatch(text):
        text = root[1]
    conditions = [
        (key.lower(), value)
        for each in (statement.get("Condition") or {}).values()
        for key, value in each.items()
    ]
    match conditions:
        case []:
            return text
        case [("aws:sourcearn", source)]:
            return f"{text} {source}"
        case _:
            return f"{text} {CONDITIONS}"


def _statements(policy: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return list(json.loads(policy["Policy"])["Statement"]) if policy else []


def _is_invoker(statement: Mapping[str, Any]) -> bool:
    calls = statement.get("Action") in ("lambda:InvokeFunction", "lambda:*")
    return calls and statement.get("Effect") == "Allow" and statement.get("Sid") not in URL_SIDS


def _opens_url(statement: Mapping[str, Any]) -> bool:
    everybody = statement.get("Principal") in ("*", {"AWS": "*"})
    return everybody and statement.get("Action") == "lambda:InvokeFunctionUrl"


def _principal(invoker: str) -> dict[str, str]:
    principal, _, source = invoker.partition(" ")
    return {"Principal": principal, **({"SourceArn": source} if source else {})}


def _permit(client: Any, name: str, alias: str, sid: str, action: str, **who: Any) -> None:
    """A statement that is there already was made by a call that was cut off."""
    found(
        client.add_permission, "ResourceConflictException",
        FunctionName=name, Qualifier=alias, StatementId=sid, Action=action, **who,
    )  # fmt: skip
