"""The page's routes. Each one asks Airflow who calls and what he may read; none of them changes anything."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, NamedTuple

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.ui import approvals, changes, database, drift, history, inventory, overview, rollout
from triplane.ui.archive import ERRORS, Archive
from triplane.ui.inventory import Inventory
from triplane.ui.models import Model, Run, Runs, Scope

VIEWS = ("overview", "changes", "approvals", "drift", "history", "rollout")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class Static(NamedTuple):
    """A file of the page."""

    body: bytes
    type: str
    tag: str


class Json(Response):
    """A model as it is: FastAPI would check it once more, which takes longer than making it."""

    media_type = "application/json"

    def render(self, content: Model) -> bytes:
        """Plain JSON."""
        return content.model_dump_json().encode()


@cache
def application() -> FastAPI:
    """The page. Nobody who is not signed in gets anything of it, not even its scripts."""
    app = FastAPI(title="Triplane", dependencies=[Depends(get_user)], docs_url=None, redoc_url=None)
    app.openapi_url = None
    app.include_router(pages)
    app.include_router(api, prefix="/api")
    return app


def _user_may_read(user: GetUserDep, session: SessionDep) -> Inventory:
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return inventory.inventory(session, readable)


def _run(dag_id: str, run_id: str, found: Readable, session: SessionDep) -> Run:
    """The run that is asked for. One that the user may not read looks like one that is not there."""
    run = (
        database.runs(session, [(dag_id, run_id)]).get((dag_id, run_id)) if dag_id in found.dag_ids else None
    )
    if run is None:
        raise HTTPException(404, f"there is no run {run_id} of {dag_id} that Triplane has made")
    return run


def _reads(*entities: DagAccessEntity) -> list[Any]:
    """What the user must be allowed to read, of the DAG that the request names or of any."""
    return [Depends(requires_access_dag("GET", entity)) for entity in (DagAccessEntity.RUN, *entities)]


Readable = Annotated[Inventory, Depends(_user_may_read)]
OfRun = Annotated[Run, Depends(_run)]
Store = Annotated[Archive, Depends(Archive)]

pages = APIRouter()
api = APIRouter()


@pages.get("/")
def start() -> Response:
    """The first view."""
    return RedirectResponse("overview")


@pages.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """A script, style or picture of the page."""
    return _file(name, request)


@pages.get("/{view}")
def page(view: str, request: Request) -> Response:
    """A view: the same document for all, which looks at its address."""
    if view not in VIEWS:
        raise HTTPException(404, f"there is no view {view}")
    return _file("index.html", request)


@api.get("/overview", dependencies=_reads())
def get_overview(found: Readable, session: SessionDep, archive: Store) -> Response:
    """Environments, clouds, components."""
    return _json(overview.overview(session, found, archive))


@api.get("/runs", dependencies=_reads())
def get_runs(found: Readable, session: SessionDep) -> Response:
    """The newest runs."""
    return _json(Runs(runs=overview.started_runs(session, found)))


@api.get("/changes", dependencies=_reads(DagAccessEntity.XCOM))
def get_changes(run: OfRun, found: Readable, session: SessionDep, archive: Store) -> Response:
    """What a run would change."""
    return _json(changes.changes(session, found, archive, run))


@api.get("/way-back", dependencies=_reads())
def get_way_back(environment: str, cloud: str, found: Readable, archive: Store) -> Response:
    """Where a rollback would go."""
    _scope(found, archive, environment, cloud)
    return _json(changes.way_back(archive, environment, cloud))


@api.get("/approvals", dependencies=_reads(DagAccessEntity.HITL_DETAIL, DagAccessEntity.XCOM))
def get_approvals(user: GetUserDep, found: Readable, session: SessionDep, archive: Store) -> Response:
    """What waits for people."""
    person = approvals.Person(str(user.get_id()), user.get_name())
    return _json(approvals.approvals(session, found, archive, person))


@api.get("/drift", dependencies=_reads())
def get_drift(found: Readable, archive: Store) -> Response:
    """The last drift check of each environment."""
    return _json(drift.drift(found, archive))


@api.get("/history", dependencies=_reads())
def get_history(
    found: Readable, archive: Store, environment: str = "", cloud: str = "", before: int | None = None
) -> Response:
    """A page of a ledger; of the first one where none is named."""
    known = history.scopes(found, archive)
    scope = _scope(found, archive, environment, cloud) if environment else next(iter(known), None)
    return _json(history.history(archive, known, scope, before))


@api.get("/verification", dependencies=_reads())
def get_verification(environment: str, cloud: str, found: Readable, archive: Store) -> Response:
    """Whether a ledger holds."""
    return _json(history.verify(archive, _scope(found, archive, environment, cloud)))


@api.get("/evidence", dependencies=_reads())
def get_evidence(run_id: str, found: Readable, archive: Store) -> Response:
    """All that proves how a run came about, of the clouds whose DAGs the user may read."""
    known = history.scopes(found, archive)
    if archive.problems:
        raise HTTPException(409, " ".join(archive.problems))
    try:
        body = history.evidence(known, run_id)
    except ERRORS as error:
        raise HTTPException(404 if isinstance(error, InputError) else 409, str(error)) from error
    name = re.sub(r"[^\w.-]", "_", run_id, flags=re.ASCII)
    attached = {"Content-Disposition": f'attachment; filename="evidence-{name}.zip"'}
    return Response(
        body, media_type="application/zip", headers=HEADERS | attached | {"Cache-Control": "no-store"}
    )


@api.get("/rollout", dependencies=_reads(DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM))
def get_rollout(run: OfRun, found: Readable, session: SessionDep) -> Response:
    """A run, task by task."""
    return _json(rollout.rollout(session, found, run))


def _scope(found: Inventory, archive: Archive, environment: str, cloud: str) -> Scope:
    """One that the user may not read looks like one that is not there."""
    for scope in history.scopes(found, archive):
        if (scope.environment, scope.cloud) == (environment, cloud):
            return scope
    raise HTTPException(404, f"there is no {environment}/{cloud}")


def _json(model: Model) -> Response:
    return Json(model, headers=HEADERS | {"Cache-Control": "no-store"})


@cache
def _files() -> dict[str, Static]:
    """All files of the page, by name."""
    found = {}
    for item in files("triplane.ui").joinpath("static").iterdir():
        kind = TYPES.get(item.name[item.name.rfind(".") :])
        if kind:
            body = item.read_bytes()
            found[item.name] = Static(body, kind, f'"{digest(body)[7:27]}"')
    return found


def _file(name: str, request: Request) -> Response:
    found = _files().get(name)
    if found is None:
        raise HTTPException(404, f"there is no file {name}")
    headers = HEADERS | {"ETag": found.tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.type, headers=headers)
