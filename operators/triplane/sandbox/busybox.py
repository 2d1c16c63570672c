"""The base image of the examples, made from this machine's static busybox: no image hub is needed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path

NAME, TAG = "library/busybox", "1.36"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
EPOCH = "1970-01-01T00:00:00Z"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"


def publish(registry: str) -> str:
    """Push the image to a registry without authentication (``http://127.0.0.1:5000``); returns its digest."""
    program = Path(shutil.which("busybox") or "/bin/busybox")
    tar = root_filesystem(program.read_bytes(), applets(program))
    layer = gzip.compress(tar, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "history": [{"created": EPOCH, "created_by": "busybox-static"}],
            "config": {
                "Cmd": ["sh"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]},
        },
        sort_keys=True,
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "size": len(config), "digest": _digest(config)},
        "layers": [{"mediaType": LAYER_TYPE, "size": len(layer), "digest": _digest(layer)}],
    }
    for blob in (layer, config):
        upload = _request("POST", f"{registry}/v2/{NAME}/blobs/uploads/")
        location = upload if upload.startswith("http") else registry + upload
        _request("PUT", f"{location}&digest={_digest(blob)}", blob, "application/octet-stream")
    data = json.dumps(manifest, sort_keys=True).encode()
    _request("PUT", f"{registry}/v2/{NAME}/manifests/{TAG}", data, MANIFEST_TYPE)
    return _digest(data)


def applets(program: Path) -> list[str]:
    """The commands that this busybox has."""
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name != "busybox"]


def root_filesystem(busybox: bytes, names: list[str]) -> bytes:
    """An uncompressed tar archive: the same input gives the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for directory, mode in (
            ("bin", 0o755),
            ("etc", 0o755),
            ("home", 0o755),
            ("root", 0o700),
            ("tmp", 0o1777),
        ):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for path, data, mode in (
            ("bin/busybox", busybox, 0o755),
            ("etc/passwd", PASSWD, 0o644),
            ("etc/group", GROUP, 0o644),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
        for name in names:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(entry)
    return stream.getvalue()


def _request(method: str, url: str, data: bytes | None = None, content_type: str = "") -> str:
    """Send it past any proxy; returns the Location header."""
    headers = {"Content-Type": content_type} if content_type else {"Content-Length": "0"}
    request = urllib.request.Request(url, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return str(response.headers.get("Location", ""))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
