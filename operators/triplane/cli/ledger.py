"""``triplane ledger`` and ``triplane evidence``: what was recorded, and whether it can be trusted.

They read the artifact store with the configuration of a worker: ``[triplane] artifact_store``, ``artifact_key`` and
``signing_key``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triplane.core.errors import InputError

if TYPE_CHECKING:
    from triplane.core.ledger import Head


def add_parsers(commands: Any) -> None:
    """Add both commands to the parser of ``triplane``."""
    ledger = commands.add_parser("ledger", help="the record of all rollouts: show it, verify it")
    actions = ledger.add_subparsers(required=True, metavar="ACTION")

    verify = actions.add_parser("verify", help="find entries that were changed, removed, moved or added")
    verify.add_argument(
        "scopes", nargs="*", metavar="SCOPE", help="such as staging/aws; all if none is named"
    )
    verify.add_argument(
        "--heads",
        type=Path,
        metavar="FILE",
        help="heads of an earlier day: what was recorded then must be there",
    )
    verify.set_defaults(run=_verify)

    heads = actions.add_parser("heads", help="print the last entry of each ledger, to be kept elsewhere")
    heads.set_defaults(run=_heads)

    show = actions.add_parser("show", help="print the entries of one ledger, one line each")
    show.add_argument("scope", metavar="SCOPE", help="such as staging/aws")
    show.add_argument("--json", action="store_true", help="whole entries, one JSON object a line")
    show.set_defaults(run=_show)

    reseal = actions.add_parser("reseal", help="vouch for what is there, after a signing key was revoked")
    reseal.add_argument("scope", metavar="SCOPE", help="such as staging/aws")
    reseal.set_defaults(run=_reseal)

    forget = actions.add_parser(
        "forget",
        help="record that what a component left behind was dealt with by hand, and forget the component",
    )
    forget.add_argument("scope", metavar="SCOPE", help="such as staging/aws")
    forget.add_argument("address", metavar="ADDRESS", help="such as aws/function/webhook")
    forget.add_argument("--reason", required=True, help="goes into the ledger")
    forget.set_defaults(run=_forget)

    evidence = commands.add_parser("evidence", help="write all that proves how a run came about into one ZIP")
    evidence.add_argument("run_id", metavar="RUN", help="the id of a run")
    evidence.add_argument("--output", type=Path, metavar="FILE", help="default: evidence-RUN.zip")
    evidence.set_defaults(run=_evidence)


def _verify(arguments: argparse.Namespace) -> int:
    from triplane import settings

    known = _known(arguments.heads) if arguments.heads else {}
    ledgers = {ledger.scope: ledger for ledger in settings.ledgers()}
    wanted = arguments.scopes or sorted({*ledgers, *known})
    wrong = 0
    for scope in wanted:
        if scope not in ledgers:
            print(f"{scope}: there is no ledger")
            wrong += 1
            continue
        problems = ledgers[scope].problems(known.get(scope))
        head = ledgers[scope].head()
        wrong += bool(problems)
        for problem in problems:
            print(f"{scope}: {problem}")
        if not problems and head:
            print(f"{scope}: {head.number + 1} entries, {head.digest}")
    if not settings.has_signing_key():
        print("[triplane] signing_key is not set here: the chains were checked, the seals were not")
    return 1 if wrong else 0


def _heads(arguments: argparse.Namespace) -> int:
    from triplane import settings

    heads = {ledger.scope: vars(head) for ledger in settings.ledgers() if (head := ledger.head())}
    print(json.dumps(heads, indent=2, sort_keys=True))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from triplane import settings

    for entry in settings.ledger(arguments.scope).entries():
        if arguments.json:
            print(json.dumps(vars(entry) | {"digest": entry.digest}, sort_keys=True))
        else:
            about = entry.body.get("run_id") or entry.body.get("address") or ""
            print(
                f"{entry.number:>6}  {entry.at[:19]}  {entry.kind:<14}  {entry.body.get('digest', '')}  {about}"
            )
    return 0


def _reseal(arguments: argparse.Namespace) -> int:
    from triplane import settings

    settings.signing_keys()
    entry = settings.ledger(arguments.scope).reseal()
    print(f"{arguments.scope}: entry {entry.number} vouches for all before it")
    return 0


def _forget(arguments: argparse.Namespace) -> int:
    from getpass import getuser

    from triplane import settings
    from triplane.core import deployed

    settings.signing_keys()
    store, ledger = settings.artifact_store(), settings.ledger(arguments.scope)
    entry = deployed.forget(store, ledger, arguments.address, reason=arguments.reason, by=getuser())
    print(f"{ledger.scope}: {arguments.address} is forgotten, entry {entry.number}")
    return 0


def _evidence(arguments: argparse.Namespace) -> int:
    from triplane import settings
    from triplane.core import files
    from triplane.core.evidence import bundle, evidence

    keys = settings.signing_keys() if settings.has_signing_key() else ()
    found = evidence(arguments.run_id, settings.ledgers(), settings.get_change_set, keys)
    target = arguments.output or Path(f"evidence-{arguments.run_id.replace('/', '_').replace(':', '-')}.zip")
    files.replace(target.absolute(), bundle(found))
    print(f"{target}: {len(found)} files")
    return 0


def _known(path: Path) -> dict[str, Head]:
    from triplane.core.ledger import Head

    try:
        found = json.loads(path.read_text())
        return {scope: Head(**value) for scope, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold heads as `triplane ledger heads` prints them: {error}"
        ) from error
