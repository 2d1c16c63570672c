"""Lambda as it behaves: updates take their time and can fail, revisions guard against others, Python code runs.

A function whose subnets or security groups do not exist ends with ``InvalidSubnet`` or ``InvalidSecurityGroup``, an
image that is not in the registry is refused. Code of a package runs for any ``python3.*`` runtime with the Python at
hand; images do not run.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moto.awslambda.exceptions import (
    ConflictException,
    GenericResourcNotFound,
    InvalidParameterValueException,
    LambdaClientError,
    PreconditionFailedException,
)
from moto.awslambda.models import FunctionUrlConfig, LambdaAlias, LambdaBackend, LambdaFunction, LambdaStorage
from moto.awslambda.policy import Policy
from moto.awslambda.responses import LambdaResponse
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends

from triplane.sandbox.aws_server.accounts import ACCOUNT

WORK_SECONDS = 0.3
BOOTSTRAP = """
import importlib, json, logging, sys, time
said = logging.StreamHandler(sys.stdout)
form = f"[%(levelname)s]\\t%(asctime)s.%(msecs)03dZ\\t{sys.argv[4]}\\t%(message)s"
said.setFormatter(logging.Formatter(form, "%Y-%m-%dT%H:%M:%S"))
said.formatter.converter = time.gmtime
logging.getLogger().addHandler(said)
sys.path.insert(0, "code")
module, _, name = sys.argv[1].rpartition(".")
class Context:
    function_name, function_version, aws_request_id = sys.argv[2], sys.argv[3], sys.argv[4]
answer, failed = None, False
try:
    handler = getattr(importlib.import_module(module.replace("/", ".")), name)
    answer = json.dumps(handler(json.load(open("event.json")), Context))
except BaseException as error:
    import traceback
    traceback.print_exc()
    failed, answer = True, json.dumps({"errorMessage": str(error), "errorType": type(error).__name__})
json.dump({"failed": failed, "answer": answer}, open("answer.json", "w"))
"""


class Busy(LambdaClientError):
    code = 409

    def __init__(self, arn: str) -> None:
        super().__init__(
            "ResourceConflictException",
            f"The operation cannot be performed at this time. An update is in progress for resource: {arn}",
        )


def install() -> None:
    """Put it over moto's."""
    _install_states()
    _install_versions()
    _install_aliases()
    LambdaFunction.invoke = _invoke
    ask = LambdaResponse.invoke

    def invoke(self: Any) -> Any:
        # The emulator looks for the parameter in lower case only.
        self.querystring["qualifier"] = self.querystring.get("Qualifier", [None])
        return ask(self)

    LambdaResponse.invoke = invoke


def _install_states() -> None:
    shown, make = LambdaFunction.get_configuration, LambdaFunction.__init__
    configure, send = LambdaFunction.update_configuration, LambdaFunction.update_function_code

    def init(self: Any, account_id: str, spec: dict[str, Any], region: str, version: Any = 1) -> None:
        _check_image(region, spec["Code"].get("ImageUri"))
        make(self, account_id, spec, region, version)
        self.code_or_config_updated = True
        _work(self, "creation")

    def get_configuration(self: Any, on_create: bool = False) -> dict[str, Any]:
        return {**shown(self, on_create), "RevisionId": self.revision, **_state(self)}

    def update_configuration(self: Any, updates: dict[str, Any]) -> dict[str, Any]:
        _guard(self, updates)
        configure(self, updates)
        if "EphemeralStorage" in updates:
            self.ephemeral_storage = updates["EphemeralStorage"]["Size"]
        _work(self, "update")
        return dict(self.get_configuration())

    def update_function_code(self: Any, updates: dict[str, Any]) -> dict[str, Any]:
        _guard(self, updates)
        _check_image(self.region, updates.get("ImageUri"))
        send(self, updates)
        if "Architectures" in updates:
            self.architectures = updates["Architectures"]
        _work(self, "update")
        return dict(self.get_configuration())

    def update_code(self: Any, name: str, qualifier: str, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self.get_function(name, qualifier).update_function_code(body))

    LambdaFunction.__init__ = init
    LambdaFunction.get_configuration = get_configuration
    LambdaFunction.update_configuration = update_configuration
    LambdaFunction.update_function_code = update_function_code
    LambdaBackend.update_function_code = update_code


def _install_versions() -> None:
    publish = LambdaStorage.publish_version

    def publish_version(self: Any, name: str, description: str = "") -> Any:
        latest = self.get_function_by_name_or_arn_forbid_qualifier(name)
        changed = latest.code_or_config_updated
        if not changed and (versions := self._functions[latest.function_name]["versions"]):
            return versions[-1]
        version = publish(self, name, description)
        latest.code_or_config_updated = False
        version.code = copy.deepcopy(latest.code)
        version.policy = Policy(version)
        _work(version, "creation")
        return version

    def response(self: Any) -> Any:
        name = unquote(self.path.split("/")[-2])
        asked = json.loads(self.body or "{}")
        latest = self.backend.get_function(name)
        _guard(latest, asked)
        if (code := asked.get("CodeSha256")) and code != latest.code_sha_256:
            raise InvalidParameterValueException(
                f"CodeSHA256 ({code}) is different from current CodeSHA256 in $LATEST ({latest.code_sha_256})."
            )
        version = self.backend.publish_version(name, asked.get("Description", ""))
        return 201, {"status": 201}, json.dumps(version.get_configuration())

    LambdaStorage.publish_version = publish_version
    LambdaResponse.publish_version = response


def _install_aliases() -> None:
    change, make = LambdaAlias.update, LambdaAlias.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self.url = None
        self.policy = None

    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        change(self, *args, **kwargs)
        self.revision_id = str(uuid.uuid4())

    respond = LambdaResponse.update_alias

    def update_alias(self: Any) -> Any:
        name, alias = unquote(self.path.rsplit("/")[-3]), unquote(self.path.rsplit("/", 2)[-1])
        revision = json.loads(self.body).get("RevisionId")
        if revision and revision != self.backend.get_alias(alias, name).revision_id:
            raise PreconditionFailedException("The RevisionId provided does not match the latest RevisionId")
        return respond(self)

    LambdaAlias.__init__ = init
    LambdaAlias.update = update
    LambdaResponse.update_alias = update_alias
    for name in ("add_permission", "get_policy", "remove_permission"):
        setattr(LambdaResponse, name, _policy_call(name))
    for name in ("create", "get", "update", "delete"):
        setattr(LambdaResponse, f"{name}_function_url_config", _url_call(name))


def _policy_call(call: str) -> Any:
    """The policy of an alias is its own."""

    def respond(self: Any) -> Any:
        parts = self.path.split("?")[0].strip("/").split("/")
        holder = _holder(self, unquote(parts[parts.index("functions") + 1]))
        if call == "get_policy":
            return holder.policy.wire_format()
        if call == "remove_permission":
            holder.policy.del_statement(unquote(parts[-1]))
            return 204, {"status": 204}, ""
        asked = json.loads(self.body)
        if any(each["Sid"] == asked["StatementId"] for each in holder.policy.statements):
            raise ExistsAlready(f"The statement id ({asked['StatementId']}) provided already exists.")
        statement, _ = holder.policy.add_statement(self.body, self.querystring.get("Qualifier", [None])[0])
        return json.dumps({"Statement": json.dumps(statement)})

    return respond


class ExistsAlready(ConflictException):
    def __init__(self, message: str) -> None:
        LambdaClientError.__init__(self, "ResourceConflictException", message)


def _url_call(call: str) -> Any:
    """The URL of an alias is its own."""

    def respond(self: Any) -> Any:
        holder = _holder(self, unquote(self.path.split("/")[-2]))
        name = "url" if isinstance(holder, LambdaAlias) else "url_config"
        there = getattr(holder, name)
        if call == "create":
            if there is not None:
                raise ExistsAlready("Failed to create function url config: it exists already")
            function = self.backend.get_function(unquote(self.path.split("/")[-2]))
            setattr(holder, name, FunctionUrlConfig(function=function, config=json.loads(self.body)))
            return 201, {"status": 201}, json.dumps(getattr(holder, name).to_dict())
        if there is None:
            raise GenericResourcNotFound()
        if call == "delete":
            setattr(holder, name, None)
            return 204, {"status": 204}, ""
        if call == "update":
            there.update(json.loads(self.body))
        return json.dumps(there.to_dict())

    return respond


def _holder(response: Any, name: str) -> Any:
    """The alias or function that a request is about."""
    qualifier = response.querystring.get("Qualifier", [None])[0]
    if qualifier is None or qualifier[0] in "$0123456789":
        return response.backend.get_function(name, qualifier)
    alias = response.backend.get_alias(qualifier, name)
    if alias.policy is None:
        alias.policy = Policy(response.backend.get_function(name))
    return alias


def _work(function: Any, what: str) -> None:
    function.revision = str(uuid.uuid4())
    function.busy_until = time.monotonic() + WORK_SECONDS
    function.work = what


def _guard(function: Any, asked: dict[str, Any]) -> None:
    revision = asked.pop("RevisionId", None)
    if revision and revision != function.revision:
        raise PreconditionFailedException("The RevisionId provided does not match the latest RevisionId")
    if time.monotonic() < function.busy_until:
        raise Busy(function.function_arn)


def _state(function: Any) -> dict[str, str]:
    busy = time.monotonic() < function.busy_until
    code, reason = _problem(function)
    if function.work == "creation":
        if busy:
            return {
                "State": "Pending",
                "StateReason": "The function is being created.",
                "StateReasonCode": "Creating",
            }
        if code:
            return {"State": "Failed", "StateReason": reason, "StateReasonCode": code}
        return {"State": "Active"}
    if busy:
        return {"State": "Active", "LastUpdateStatus": "InProgress"}
    if code:
        return {
            "State": "Active", "LastUpdateStatus": "Failed", "LastUpdateStatusReason": reason,
            "LastUpdateStatusReasonCode": code,
        }  # fmt: skip
    return {"State": "Active", "LastUpdateStatus": "Successful"}


def _problem(function: Any) -> tuple[str, str]:
    vpc = function._vpc_config or {}
    known = ec2_backends[ACCOUNT][function.region]
    subnets = {each.id for each in known.describe_subnets()}
    for subnet in vpc.get("SubnetIds") or ():
        if subnet not in subnets:
            return "InvalidSubnet", f"The subnet ID '{subnet}' does not exist"
    groups = {each.id for each in known.describe_security_groups()}
    for group in vpc.get("SecurityGroupIds") or ():
        if group not in groups:
            return "InvalidSecurityGroup", f"The security group '{group}' does not exist"
    return "", ""


def _check_image(region: str, uri: str | None) -> None:
    if uri is None:
        return
    repository, _, digest = uri.partition("/")[2].partition("@")
    there = ecr_backends[ACCOUNT][region].repositories.get(repository)
    if there is None or not any(image.get_image_digest() == digest for image in there.images):
        raise InvalidParameterValueException(
            f"Source image {uri} does not exist. Provide a valid source image."
        )


def _invoke(self: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
    """Runs the handler of this version."""
    if self.package_type == "Image" or not str(self.run_time).startswith("python3."):
        raise InvalidParameterValueException("The sandbox runs Python packages only")
    with tempfile.TemporaryDirectory() as folder:
        answer, log = _run(self, Path(folder), body)
    if answer["failed"]:
        response_headers["x-amz-function-error"] = "Unhandled"
    response_headers["x-amz-executed-version"] = str(self.version)
    response_headers["x-amz-log-result"] = base64.b64encode(log[-4096:].encode()).decode()
    _write_log(self, log)
    return bytes(answer["answer"].encode())


def _run(function: Any, folder: Path, body: Any) -> tuple[dict[str, Any], str]:
    with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as packed:
        packed.extractall(folder / "code")
    (folder / "event.json").write_bytes((body.encode() if isinstance(body, str) else body) or b"{}")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **function.environment_vars}
    words = (function.handler, function.function_name, str(function.version), str(uuid.uuid4()))
    try:
        ended = subprocess.run(
            (sys.executable, "-I", "-c", BOOTSTRAP, *words), cwd=folder, env=environment, timeout=function.timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        late = f"{words[3]} Task timed out after {function.timeout:.2f} seconds"
        answer = {"failed": True, "answer": json.dumps({"errorMessage": late})}
        return answer, (error.stdout or b"").decode(errors="replace") + late
    file = folder / "answer.json"
    said = ended.stdout.decode(errors="replace")
    if not file.exists():
        gone = {"errorType": "Runtime.ExitError", "errorMessage": f"exit status {ended.returncode}"}
        return {"failed": True, "answer": json.dumps(gone)}, said
    return json.loads(file.read_text()), said


def _write_log(function: Any, log: str) -> None:
    group, backend = function.logs_group_name, function.logs_backend
    backend.ensure_log_group(group)
    stream = f"{time.strftime('%Y/%m/%d')}/[{function.version}]{'0' * 32}"
    if stream not in backend.groups[group].streams:
        backend.create_log_stream(group, stream)
    now = int(time.time() * 1000)
    lines = log.splitlines() or ["(nothing)"]
    backend.put_log_events(group, stream, [{"timestamp": now, "message": f"{line}\n"} for line in lines])
