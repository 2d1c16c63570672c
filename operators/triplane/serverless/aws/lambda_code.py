"""How the code of a function gets to Lambda: with the call, through S3, or as an image."""

from __future__ import annotations

from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless import package
from triplane.serverless.aws.errors import found
from triplane.serverless.target import Desired

UPLOAD_LIMIT: Final = 50 * 1024 * 1024
UNZIPPED_LIMIT: Final = 250 * 1024 * 1024


def platforms(runtime: str, architecture: str = "x86_64") -> tuple[tuple[str, ...], str] | None:
    """For which platforms and version of Python a package's dependencies are installed, None for another language.

    Runtimes from Python 3.12 on have glibc 2.34, those before 2.26.
    """
    python = runtime.removeprefix("python")
    if not runtime.startswith("python3."):
        return None
    machine = {"arm64": "aarch64"}.get(architecture, architecture)
    newest = 34 if int(python.partition(".")[2]) >= 12 else 26
    glibc = (f"manylinux_2_{minor}_{machine}" for minor in range(newest, 16, -1))
    return (*glibc, f"manylinux2014_{machine}"), python


def check(desired: Desired) -> None:
    """:raises InputError: the package is not what the artifact says, or too large"""
    data = desired.package
    if data is None:
        return
    package.check(data, desired.artifact, desired.name)
    package.check_unzipped(data, UNZIPPED_LIMIT, desired.name)
    if len(data) > UPLOAD_LIMIT and not desired.options.get("bucket"):
        raise InputError(
            f"{desired.name}: the package has {len(data) / 2**20:.0f} MiB, and Lambda takes "
            f"{UPLOAD_LIMIT / 2**20:.0f} directly; give the option `bucket`, or leave files out with "
            f".deployignore ({package.biggest(data)})"
        )


def source(desired: Desired, s3: Any) -> dict[str, Any]:
    """Where Lambda finds the code. A large package is put into the bucket first, unless it is there."""
    data, bucket = desired.package, desired.options.get("bucket")
    if data is None:
        return {"ImageUri": desired.artifact}
    if len(data) <= UPLOAD_LIMIT:
        return {"ZipFile": data}
    if s3 is None:
        raise InputError(f"{desired.name}: its package goes through S3, and there is no client for that")
    where = {"Bucket": str(bucket), "Key": f"triplane/{desired.name}/{desired.artifact[7:]}.zip"}
    if found(s3.head_object, "404", "NoSuchKey", **where) is None:
        s3.put_object(**where, Body=data)
    return {"S3Bucket": where["Bucket"], "S3Key": where["Key"]}
