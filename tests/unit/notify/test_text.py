"""What a service shows is redacted, within its limits, and in its own markup."""

from __future__ import annotations

import pytest

from triplane.core.errors import InputError
from triplane.core.redact import Redactor
from triplane.notify.channels.sns import subject
from triplane.notify.message import Message
from triplane.notify.route import Route
from triplane.notify.text import SHORTENED, as_html, as_slack, bounded, octets, one_line, render

MESSAGE = Message(
    event="failed", environment="prod", subject="a\r\nb", text="the key is K3y-planted", thread="r"
)


def route(**options: str) -> Route:
    return Route(name="ops", channel="webhook", platform="shop", **options)  # type: ignore[arg-type]


def test_everything_is_redacted_and_the_subject_is_one_line() -> None:
    template = "{{ text }} in {{ environment }} of {{ platform }}"
    rendered = render(MESSAGE, route(template=template), Redactor(["K3y-planted"]))
    assert rendered.subject == "[shop] a b"
    assert rendered.text == "the key is *** in prod of shop"


@pytest.mark.parametrize(
    "template",
    [
        "{{ nothing }}",
        "{{ text",
        "{{ text.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
        "{{ subject.missing.deeper }}",
    ],
)
def test_a_template_that_is_wrong_or_reaches_out_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="cannot be rendered"):
        render(MESSAGE, route(template=template), str)


@pytest.mark.parametrize("size", [len, octets])
@pytest.mark.parametrize(
    "text",
    ["short", "x" * 5000, "ü" * 5000, "line\n" * 1000, "```\n" + "code\n" * 1000 + "```", "a\n" + "b" * 5000],
)
def test_bounded(text: str, size: object) -> None:
    for limit in (50, 99, 1000):
        cut = bounded(text, limit, size=size)  # type: ignore[arg-type]
        assert size(cut) <= limit  # type: ignore[operator]
        assert cut == text or cut.endswith(SHORTENED)
        assert cut.count("```") % 2 == 0
    assert bounded("line\n" * 1000, 1000, size=size).splitlines()[-2] == "line"  # type: ignore[arg-type]


def test_slack_markup() -> None:
    text = "## Title\n**bold** & <!channel> [a](https://b.c/d) `**code** <x>`\n```text\n**raw**\n```"
    assert as_slack(text) == (
        "*Title*\n*bold* &amp; &lt;!channel&gt; <https://b.c/d|a> `**code** &lt;x&gt;`\n```\n**raw**\n```"
    )


def test_html_for_mail_interprets_no_html() -> None:
    shown = as_html("**b** <script>x</script> [a](javascript:alert) `c`")
    assert "<strong>b</strong>" in shown
    assert "<script>" not in shown
    assert "href" not in shown


def test_subjects_of_sns() -> None:
    assert subject("größer " + "x" * 200) == "gr??er " + "x" * 89 + "..."
    assert len(subject("x" * 100)) == 99


def test_one_line() -> None:
    assert one_line("a\r\n\x00b\u2028c ") == "a b c"
