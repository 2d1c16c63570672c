"""The documentation holds: its links lead somewhere, it names everything. Its code is in ``test_snippets``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from triplane.sandbox.terraform import VERSIONS
from triplane.spec import gates, markers, model
from triplane.spec.load import problems_of

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
SPEC_GUIDE = (GUIDES / "platform-spec.md").read_text()
BROKEN = "# broken.yaml\n"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)  # fmt: skip


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def prose(text: str) -> str:
    """The text without code blocks and comments."""
    return re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.M | re.S)


def test_what_validate_prints_in_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (broken,) = (block for block in blocks(SPEC_GUIDE, "yaml") if block.startswith(BROKEN))
    Path("broken.yaml").write_text(broken)
    (shown,) = (block for block in blocks(SPEC_GUIDE, "console") if "validate broken.yaml" in block)
    problems = [str(problem) for problem in problems_of("broken.yaml")]
    assert shown.splitlines()[1:] == [*problems, f"{len(problems)} problems"]


def test_every_key_is_in_the_guide() -> None:
    named = [*vars(model).values(), *vars(gates).values(), *vars(markers).values()]
    models = [value for value in named if isinstance(value, type) and issubclass(value, model.Value)]
    keys = {field.alias or key for each in models for key, field in each.model_fields.items()}
    assert sorted(key for key in keys if f"`{key}`" not in SPEC_GUIDE) == []


@pytest.mark.parametrize("provider", VERSIONS)
def test_the_resource_types_of_the_sandbox(provider: str) -> None:
    table = importlib.import_module(f"triplane.sandbox.providers.{provider}.table").PROVIDER
    text = (GUIDES / "sandbox.md").read_text()
    (row,) = re.findall(rf"^\| `{provider}` \| (.*) \|$", text, re.M)
    listed = set(re.findall(rf"`{provider}_(\w+)`", row))
    assert listed == {resource.name for resource in table.resources}


def slugs(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text()))
    broken = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        found = page.parent / path if path else page
        if not found.exists() or (anchor and anchor not in slugs(found)):
            broken.append(target)
    assert broken == []


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in sorted(GUIDES.glob("*.md")) if f"](guides/{page.name})" not in index] == []


def make_targets(text: str) -> Iterator[str]:
    """What ``make`` is asked for in commands: in code blocks, and in code within a line."""
    lines = [line for block in blocks(text, r"\w*") for line in block.splitlines()]
    for code in [*lines, *re.findall(r"`([^`\n]+)`", prose(text))]:
        if found := re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*make ((?:[A-Z_]+=\S+ )*)([a-z][a-z-]*)", code):
            yield found[2]


def test_every_make_target_exists() -> None:
    existing = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {target for page in PAGES for target in make_targets(page.read_text())}
    assert named
    assert named - existing == set()
