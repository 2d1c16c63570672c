"""``python -m triplane.sandbox.aws_server SETTINGS_JSON``, with the Python that moto is installed for.

The settings: ``{"port": int, "access_key": {"id": str, "secret": str}, "token_secret": str,
"eks_endpoint": file, "builds": folder, "keys": folder, "proxy": url, "ca": file}``. The file holds ``{"server": url, "ca": base64 PEM}`` of the API server that EKS
clusters are said to have.

``/_sandbox/`` is for the other parts of the sandbox: ``tokeninfo?access_token=`` answers 200 for an ECR
password that this server gave out, ``ecr/<repository>`` answers 200 for a repository that exists, and a
manifest POSTed there is recorded as a pushed image. ``eks`` answers with ``{"clusters": [name]}``. A fault POSTed to
``faults`` (:class:`triplane.sandbox.aws_server.faults.Fault`) happens, until all are DELETEd.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

from triplane.sandbox import builds
from triplane.sandbox.aws_server import (
    accounts,
    codebuild,
    codepipeline,
    event_source_mappings,
    functions,
    instance_connect,
    metrics,
    schedules,
    services,
    stream_poller,
)
from triplane.sandbox.aws_server.app import Application


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text())
    tokens = accounts.Tokens(settings["token_secret"])
    accounts.give_ecr_tokens(tokens)
    accounts.give_eks_endpoints(Path(settings["eks_endpoint"]))
    builder = builds.Builds(Path(settings["builds"]), builds.environment(settings["proxy"], settings["ca"]))
    builds_service = codebuild.Service(builder, tokens)
    builds_service.install()
    codepipeline.Service(builds_service).install()
    functions.install()
    instance_connect.install(Path(settings["keys"]))
    metrics.install()
    services.install()
    event_source_mappings.install()
    schedules.install()
    stream_poller.install()
    emulator = DomainDispatcherApplication(create_backend_app)
    keys = accounts.AccessKeys(settings["access_key"]["id"], settings["access_key"]["secret"])
    run_simple(
        "127.0.0.1", settings["port"], Application(emulator, keys, tokens), threaded=True,
        request_handler=MotoRequestHandler,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
