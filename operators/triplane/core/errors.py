"""Everything Triplane raises.

::

    TriplaneError
    ├── TerminalError          a retry cannot help
    │   ├── InputError         what the user wrote is wrong
    │   ├── RefusedError       not approved, tampered with, or applied already
    │   └── StaleError         approved, but the world has moved since
    ├── TransientError         a retry may help (throttling, network, a lock held by somebody)
    └── ToolError              a tool (terraform, helm, buildah, ...) ended with an error
        ├── ToolTimeout        ... or did not end in time and was stopped
        ├── OutputTooLarge     ... or wrote more than we are willing to read and was stopped
        └── ToolLost           ... or lost its guardian, so that nobody saw how it ended

A message says what happened, to what, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class TriplaneError(Exception):
    """Base of all errors of this package."""


class TerminalError(TriplaneError):
    """A retry cannot help."""


class InputError(TerminalError):
    """What the user wrote is wrong."""


class RefusedError(TerminalError):
    """The action is not covered by a valid approval, or its content was changed."""


class StaleError(TerminalError):
    """The approval was valid, but the state it was given for has moved on."""


class TransientError(TriplaneError):
    """A retry may help."""


class ToolError(TriplaneError):
    """A tool ended with a return code that the caller did not expect.

    ``stderr`` is the redacted tail of what the tool said.
    """

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str) -> None:
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr
        super().__init__(self._message())

    def _message(self) -> str:
        return f"{self.command} ended with {self.returncode}: {self.stderr.strip() or 'no output'}"

    @property
    def command(self) -> str:
        """The tool and its subcommand, for people: ``terraform plan``."""
        words = [word for word in self.argv[:3] if not word.startswith("-")]
        return " ".join([words[0].rsplit("/", 1)[-1], *words[1:2]])


class ToolTimeout(ToolError):
    """The tool did not end within its time limit and was stopped."""

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str, limit: float) -> None:
        self.limit = limit
        super().__init__(argv, returncode, stderr)

    def _message(self) -> str:
        return f"{self.command} was stopped after its limit of {self.limit:g} s: {self.stderr.strip()}"


class OutputTooLarge(ToolError):
    """The tool wrote more than its limit (in bytes) and was stopped."""

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str, limit: int) -> None:
        self.limit = limit
        super().__init__(argv, returncode, stderr)

    def _message(self) -> str:
        return f"{self.command} wrote more than {self.limit / 1e6:g} MB and was stopped"


class ToolLost(ToolError):
    """The tool's guardian was killed: nobody saw how the tool ended."""

    def _message(self) -> str:
        said = self.stderr.strip() or "nothing"
        return f"the guardian of {self.command} was killed, how that ended is not known; it last said: {said}"
