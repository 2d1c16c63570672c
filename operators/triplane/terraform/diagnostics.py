"""Which of Terraform's errors a retry would only hear again.

Deliberately few. What is not known here may be retried; so may every failure in which anything looks passing,
since that may have caused the rest. Not here on purpose: denied access and missing buckets (granted or made a
moment ago, they take a minute to show), and refused tokens (the next try gets a fresh one).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

CODE = "correct the stack's code"
CREDENTIALS = "correct the cloud's Airflow connection (`cloud_conn_id`)"

TERMINAL = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"^No value for required variable", "give the variable in the stack's `variables`"),
        (r"^Invalid value for variable|^Value for undeclared variable", "correct the stack's `variables`"),
        (r"^Invalid (?!.*response)", CODE),
        (r"^Unsupported (argument|attribute|backend type|block type|operator)", CODE),
        (r"^Missing (name for|required argument|required provider configuration)", CODE),
        (r"^Reference to undeclared ", CODE),
        (r"^Duplicate ", CODE),
        (r"^Cycle: ", CODE),
        (r"^Call to unknown function", CODE),
        (r"^Incorrect (attribute )?value type", CODE),
        (r"^(Argument or block definition required|Unclosed configuration block)", CODE),
        (r"^Unreadable module directory", CODE),
        (r"^Instance cannot be destroyed", CODE),
        (
            r"does not have a provider named|no available releases match",
            "correct `required_providers` in the stack's code",
        ),
        (
            r"any of the checksums (previously )?recorded in the dependency lock file",
            "find out why this provider differs from the one in .terraform.lock.hcl; if that is wanted, run "
            "`terraform providers lock` for every platform and commit the file",
        ),
        (r"No valid credential sources found|could not find default credentials", CREDENTIALS),
        (
            r"SignatureDoesNotMatch|InvalidAccessKeyId|InvalidClientTokenId|UnrecognizedClientException",
            CREDENTIALS,
        ),
        (r"AADSTS(7000215|7000222|700016|90002)\b", CREDENTIALS),
    )
)
"""What the summary and detail of an error look like, and what people have to do."""

CRASHED = ("Plugin did not respond", "Request cancelled")
"""What Terraform says of a provider that died; the latter, too, of one that was stopped."""
HINTS = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (
            rf"^({'|'.join(CRASHED)})",
            "the provider died, of a bug of its own or for want of memory, or was stopped: try again, look at this "
            "worker's memory, or pin another version of the provider",
        ),
        (
            r"no space left on device|disk quota exceeded|file too large",
            "make room on this worker's disk and try again",
        ),
    )
)
"""What helps where a retry may help, too."""

_PASSING = re.compile(
    r"throttl|too many requests|rate ?limit|rate exceeded|slow ?down|(quota|limit) ?exceeded|"
    r"(status ?code|status|error|http)[:= ]+(408|429|5\d\d)\b|"
    r"connection (reset|refused|closed|timed out)|broken pipe|unexpected EOF|\bEOF$|no such host|"
    r"temporary failure|server misbehaving|network is unreachable|TLS handshake|"
    r"time[d]?[ -]?out|deadline exceeded|request canceled|"
    r"service ?unavailable|internal ?(server ?)?error|try again later|"
    r"expired ?token|token (has|is) expired|acquiring the state lock",
    re.IGNORECASE,
)


def advice(errors: Sequence[str]) -> str | None:
    """What people have to do before these ``errors`` (``<summary>: <detail>``) end; None: a retry may help."""
    if any(_PASSING.search(error) for error in errors):
        return None
    return next((what for error in errors for pattern, what in TERMINAL if pattern.search(error)), None)


def hint(errors: Sequence[str]) -> str | None:
    """What may help against ``errors``, where Terraform itself does not say it."""
    return next((what for error in errors for pattern, what in HINTS if pattern.search(error)), None)
