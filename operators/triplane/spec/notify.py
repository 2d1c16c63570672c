"""Who is told what: the routes of ``notify:``."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from triplane.spec.values import AirflowName, Name, Value

Event = Literal[
    "approval_needed", "reminder", "deployed", "failed", "rolled_back", "drift_found", "drift_cured"
]
Address = Annotated[str, StringConstraints(pattern=r"^[^\s@<>,;]+@[^\s@<>,;]+$")]
TopicArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+$")]
"""Of a standard topic: one of a FIFO topic ends in ``.fifo``."""
GoogleTopic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$")]
TopicUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@$]+$")]


TEMPLATE_NAMES = ("event", "environment", "subject", "text", "link", "thread", "platform")


def template_problem(text: str) -> str:
    """Why a template cannot be rendered, empty if it can."""
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        parsed = ImmutableSandboxedEnvironment().parse(text)
    except TemplateSyntaxError as error:
        return f"not a Jinja template: {error}"
    unknown = sorted(meta.find_undeclared_variables(parsed) - set(TEMPLATE_NAMES))
    known = ", ".join(TEMPLATE_NAMES)
    return f"a template knows {known}, and no '{unknown[0]}'" if unknown else ""


class Slack(Value):
    """A channel through an app, or an incoming webhook, which has its own channel."""

    connection: AirflowName = "slack_default"
    """Of type Slack API with ``channel``, else an incoming webhook."""
    channel: str | None = None
    """Where an app writes to."""


class Teams(Value):
    """A webhook of Microsoft Teams."""

    connection: AirflowName
    """Of type HTTP; its host is the webhook's URL."""


class Email(Value):
    """E-mail."""

    to: Annotated[tuple[Address, ...], Field(min_length=1, strict=False)]
    """Addresses."""
    sender: Address | None = None
    """Needed unless the connection names one."""
    connection: AirflowName = "smtp_default"
    """Of type SMTP."""


class Webhook(Value):
    """Any endpoint that takes JSON."""

    connection: AirflowName
    """Of type HTTP; its host is the URL."""


class Sns(Value):
    """A topic of Amazon SNS."""

    topic: TopicArn
    """ARN of a standard topic."""
    connection: AirflowName = "aws_default"
    """Of type AWS."""


class PubSub(Value):
    """A topic of Google Cloud Pub/Sub."""

    topic: GoogleTopic
    """Its name."""
    project: str | None = None
    """The connection's where it is left out."""
    connection: AirflowName = "google_cloud_default"
    """Of type Google Cloud."""


class EventGrid(Value):
    """A custom topic of Azure Event Grid."""

    topic: TopicUrl
    """The topic's endpoint."""
    event_schema: Annotated[Literal["cloud_events", "event_grid"], Field(alias="schema")] = "cloud_events"
    """As the topic has it."""
    key: AirflowName | None = None
    """Connection whose password is the topic's key."""
    connection: AirflowName = "azure_default"
    """Of type Azure, whose identity may send; where there is no ``key``."""


class Notification(Value):
    """One route: exactly one channel, and what it wants."""

    slack: Slack | None = None
    teams: Teams | None = None
    email: Email | None = None
    webhook: Webhook | None = None
    sns: Sns | None = None
    pubsub: PubSub | None = None
    event_grid: EventGrid | None = None
    events: Annotated[tuple[Event, ...], Field(strict=False)] = ()
    environments: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    template: Annotated[str, StringConstraints(min_length=1, max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _one_channel(self) -> Self:
        if len(found := self._channels()) != 1:
            raise ValueError(f"a route has exactly one channel, this one has {', '.join(found) or 'none'}")
        return self

    def _channels(self) -> list[str]:
        names = ("slack", "teams", "email", "webhook", "sns", "pubsub", "event_grid")
        return [name for name in names if getattr(self, name) is not None]

    def plain(self, name: str, platform: str) -> dict[str, Any]:
        """What operators get, see ``triplane.notify.route``."""
        (channel,) = self._channels()
        options = getattr(self, channel).asdict()
        return {
            "name": name,
            "platform": platform,
            "channel": channel,
            "options": options,
            "events": list(self.events),
            "environments": list(self.environments),
            "template": self.template or "",
        }
