"""Dependencies in a package, with the real pip and wheels made here."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from triplane.core.errors import InputError, ToolError, ToolTimeout, TransientError
from triplane.serverless import dependencies
from triplane.serverless.archive import unpack
from triplane.serverless.dependencies import Wanted, arguments, explained, wanted
from triplane.serverless.package import build

PLATFORM = "manylinux2014_x86_64"
LINUX = "manylinux_2_17_x86_64.manylinux2014_x86_64"


def wheel(
    folder: Path, name: str, version: str, *, tag: str = "py3-none-any", needs: tuple[str, ...] = ()
) -> str:
    """Writes one; returns its hash."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in needs)
    files = {
        f"{name}/__init__.py": f"VERSION = '{version}'\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        + "".join(f"Tag: {tag.rsplit('-', 1)[0]}-{each}\n" for each in tag.rsplit("-", 1)[1].split(".")),
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    lines = []
    for path, text in files.items():
        known = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={known},{len(text)}\n")
    files[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, text in files.items():
            archive.writestr(entry, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that pip looks into, and a cache of its own."""
    path = tmp_path / "wheels"
    path.mkdir()
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path))
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("triplane.core.private.user_dir", lambda name: kept)
    return path


def function(tmp_path: Path, requirements: str, name: str = "function", **files: str) -> Path:
    path = tmp_path / name
    path.mkdir()
    (path / "app.py").write_text("import small\n")
    (path / "requirements.txt").write_text(requirements)
    for file, text in files.items():
        (path / file.replace("_", ".", 1)).write_text(text)
    return path


def make(path: Path, **options: Any) -> Any:
    return build(path, platform=PLATFORM, python="3.13", **options)


def test_only_on_request(tmp_path: Path, wheels: Path) -> None:
    path = function(tmp_path, "small==1.0\n")
    assert build(path).names == ("app.py", "requirements.txt")


def test_the_same_bytes_wherever_it_is_made(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(wheels, "small", "1.0", needs=("other",))
    wheel(wheels, "other", "2.0", tag=f"cp313-cp313-{LINUX}")
    wheel(wheels, "other", "3.0", tag="cp313-cp313-win_amd64")
    first = make(function(tmp_path, "small==1.0\n"))
    assert {"small/__init__.py", "other/__init__.py", "app.py", "small-1.0.dist-info/METADATA"} <= set(
        first.names
    )
    ours = ("RECORD", "INSTALLER", "REQUESTED", ".pyc", "bin/small")
    assert not [name for name in first.names if name.endswith(ours)]
    assert unpack(first.data)["other/__init__.py"][1] == b"VERSION = '2.0'\n", "that of the platform"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("triplane.core.private.user_dir", lambda name: elsewhere)
    second = make(function(tmp_path, "small==1.0\n", "again"))
    assert (second.digest, second.data) == (first.digest, first.data)


def test_what_was_installed_before_is_taken_from_the_cache(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "small", "1.0")
    path = function(tmp_path, "small==1.0\n")
    first = make(path)
    (wheels / "small-1.0-py3-none-any.whl").unlink()
    assert make(path).digest == first.digest
    old = tmp_path / "kept/old.zip"
    old.write_bytes(b"")
    os.utime(old, (time.time() - dependencies.KEPT_SECONDS - 1,) * 2)
    wheel(wheels, "small", "1.1")
    (path / "requirements.txt").write_text("small==1.1\n")
    assert make(path).digest != first.digest
    assert not old.exists()


def test_a_project_names_them_too(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "small", "1.0")
    path = function(tmp_path, "")
    (path / "requirements.txt").unlink()
    (path / "pyproject.toml").write_text("[project]\nname = 'f'\ndependencies = ['small==1.0']\n")
    assert "small/__init__.py" in make(path).names
    (path / "pyproject.toml").write_text("[project]\nname = 'f'\n")
    assert make(path).names == ("app.py", "pyproject.toml")


def test_included_files_count(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "small", "1.0")
    wheel(wheels, "small", "1.1")
    path = function(tmp_path, "-c limits.txt\nsmall  # the only one\n", limits_txt="small<1.1\n")
    first = wanted(path, PLATFORM, "3.13")
    assert b"1.0" in unpack(make(path).data)["small/__init__.py"][1]
    (path / "limits.txt").write_text("small<2\n")
    second = wanted(path, PLATFORM, "3.13")
    assert first is not None
    assert second is not None
    assert first.key != second.key
    assert b"1.1" in unpack(make(path).data)["small/__init__.py"][1]


def test_hashes_are_honoured(tmp_path: Path, wheels: Path) -> None:
    known = wheel(wheels, "small", "1.0")
    assert "small/__init__.py" in make(function(tmp_path, f"small==1.0 --hash=sha256:{known}\n")).names
    wrong = function(tmp_path, f"small==1.0 --hash=sha256:{'0' * 64}\n", "wrong")
    with pytest.raises(InputError, match="do not have the hashes"):
        make(wrong)


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        ("windows==1.0\n", "there is no wheel of windows==1.0 for manylinux2014_x86_64 and Python 3.13"),
        ("small==9\n", "there is no wheel of small==9"),
        ("one==1.0\ntwo==1.0\n", "contradict each other: .*small"),
        ("-e .\n", "what is on this machine only"),
        ("small @ file:///tmp/small.whl\n", "what is on this machine only"),
        ("-r ../outside.txt\n", "inside of the folder only"),
        ("-r missing.txt\n", "does not exist"),
        ("!!!\n", "cannot be installed"),
    ],
)
def test_what_cannot_be_had_is_told(tmp_path: Path, wheels: Path, requirements: str, message: str) -> None:
    wheel(wheels, "windows", "1.0", tag="cp313-cp313-win_amd64")
    for version in ("1.0", "2.0"):
        wheel(wheels, "small", version)
    wheel(wheels, "one", "1.0", needs=("small==1.0",))
    wheel(wheels, "two", "1.0", needs=("small==2.0",))
    with pytest.raises(InputError, match=message):
        make(function(tmp_path, requirements))


def test_the_python_version_is_needed(tmp_path: Path, wheels: Path) -> None:
    with pytest.raises(InputError, match="a Python version like 3"):
        build(function(tmp_path, "small\n"), platform=PLATFORM)
    assert build(function(tmp_path, "# none\n", "none"), platform=PLATFORM).names == (
        "app.py",
        "requirements.txt",
    )


def test_an_index_that_does_not_answer_is_transient(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(TransientError, match="index does not answer"):
        make(function(tmp_path, "small==1.0\n"))


def test_it_does_not_take_for_ever(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "arguments", lambda *args: [])
    monkeypatch.setattr(dependencies, "pip", lambda: ["sleep", "30"])
    with pytest.raises(ToolTimeout):
        make(function(tmp_path, "small==1.0\n"), timeout=0.3)
    assert not list((tmp_path / "kept").iterdir())


def test_what_pip_is_called_with(tmp_path: Path) -> None:
    what = Wanted(folder=tmp_path, files=(("requirements.txt", "x"),), platforms=("a", "b"), python="3.12")
    assert arguments(what, Path("/t"), Path("/r.txt")) == [
        *("install", "--target", "/t", "--platform", "a", "--platform", "b", "--python-version", "3.12"),
        *("--implementation", "cp", "--only-binary=:all:", "--no-compile", "--ignore-installed"),
        *("--no-input", "--no-color", "--progress-bar", "off", "--disable-pip-version-check"),
        *("--requirement", "/r.txt"),
    ]


def test_a_tool_that_was_stopped_is_no_mistake_of_the_user(tmp_path: Path) -> None:
    what = Wanted(folder=tmp_path, files=(), platforms=(PLATFORM,), python="3.13")
    stopped = ToolTimeout(("pip",), 1, "", 5)
    assert explained(stopped, what, "No matching distribution found for x") is stopped
    other = explained(ToolError(("pip",), 1, ""), what, "WARNING: a\nERROR: disk full")
    assert str(other).endswith("cannot be installed: ERROR: disk full")


def test_what_was_packed_can_be_imported(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "small", "1.0")
    package = make(function(tmp_path, "small==1.0\n"))
    file = tmp_path / "package.zip"
    file.write_bytes(package.data)
    python = shutil.which("python3") or "python3"
    program = f"import sys; sys.path.insert(0, {str(file)!r}); import app; print(app.small.VERSION)"
    said = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "1.0\n"
