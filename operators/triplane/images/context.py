"""The build context: what a builder sees, and the key of the image that comes out.

The files that count are copied with fixed times and modes. So the same content gives the same
layers on every machine, and nothing can enter the image that is not in its key.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from triplane.core.digest import digest, digest_tree, tree_files
from triplane.core.errors import InputError

KEY_VERSION = 1
"""Part of every key: raise it when the same context would give another image."""


def stage(context: Path, dockerfile: str, target: Path) -> None:
    """Copy what counts of ``context`` to ``target``, which must not exist.

    ``.dockerignore`` is respected, except that the Dockerfile is always taken. Raises ``InputError``
    when the context or the Dockerfile is missing, or a link leads out of the context.
    """
    if not context.is_dir():
        raise InputError(f"{context}: the build context is not a directory")
    if not (context / dockerfile).is_file():
        raise InputError(f"{context / dockerfile}: there is no such Dockerfile")
    patterns = ignore_patterns(context)
    target.mkdir(mode=0o755)
    for source in tree_files(context):
        name = source.relative_to(context).as_posix()
        if name == dockerfile or not is_ignored(name, patterns):
            _copy(source, target / name, context)
    for folder, _, _ in os.walk(target, topdown=False):
        os.utime(folder, (0, 0))
        os.chmod(folder, 0o755)


def rewrite(file: Path, change: Callable[[str], str]) -> None:
    """Change the text of a staged file, which stays as if it had been staged so."""
    file.write_text(change(file.read_text()))
    os.utime(file, (0, 0))
    os.utime(file.parent, (0, 0))


def build_key(staged: Path, dockerfile: str, args: Mapping[str, str], platforms: Sequence[str] = ()) -> str:
    """Digest of all that decides what the image is: files, Dockerfile, arguments, platforms that are asked for.

    The base images count by the digests that :func:`triplane.images.base.pin` wrote into the Dockerfile.
    """
    parts = {"version": KEY_VERSION, "context": digest_tree(staged), "file": dockerfile, "args": dict(args)}
    return digest({**parts, "platforms": sorted(platforms)} if platforms else parts)


def ignore_patterns(context: Path) -> tuple[str, ...]:
    """The patterns of ``.dockerignore``, which is itself no part of an image."""
    file = context / ".dockerignore"
    lines = file.read_text().splitlines() if file.is_file() else []
    written = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return (*written, ".dockerignore")


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether ``.dockerignore`` leaves ``name`` out: the last pattern that matches decides."""
    ignored = False
    for pattern in patterns:
        exception = pattern.startswith("!")
        if ignored == exception and _regex(pattern.removeprefix("!")).match(name):
            ignored = not exception
    return ignored


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern matches a path, or a folder above it; ``**`` stands for any number of folders."""
    text = os.path.normpath(pattern.strip().lstrip("/")).replace(os.sep, "/")
    out, index = "", 0
    while index < len(text):
        if text.startswith("**/", index):
            out, index = out + "(?:.*/)?", index + 3
        elif text.startswith("**", index):
            out, index = out + ".*", index + 2
        elif text[index] == "[" and (end := text.find("]", index + 2)) > 0:
            out, index = out + text[index : end + 1].replace("[!", "[^"), end + 1
        else:
            one = {"*": "[^/]*", "?": "[^/]"}.get(text[index], re.escape(text[index]))
            out, index = out + one, index + 1
    return re.compile(f"{out}(?:/|$)")


def _copy(source: Path, target: Path, context: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        if not source.resolve().is_relative_to(context.resolve()):
            raise InputError(f"{source}: this link leads out of the build context")
        target.symlink_to(os.readlink(source))
    else:
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    os.utime(target, (0, 0), follow_symlinks=False)
