"""Refusals as Google's APIs word them."""

from __future__ import annotations

from typing import Any

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


class ApiError(Exception):
    """One error response: HTTP code, canonical status, message, and details as google.rpc messages."""

    def __init__(
        self, code: int, message: str, *, status: str = "", details: tuple[dict[str, Any], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS[code]
        self.details = details

    def body(self) -> dict[str, Any]:
        """The JSON that Google's REST APIs answer with."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        else:
            known = {404: "notFound", 409: "alreadyExists", 401: "authError", 412: "conditionNotMet"}
            reason = known.get(self.code, "badRequest")
            error["errors"] = [{"message": self.message, "domain": "global", "reason": reason}]
        return {"error": error}


def bad_request(violations: list[tuple[str, str]]) -> ApiError:
    """400 with one ``google.rpc.BadRequest`` violation for each (field, description)."""
    details = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": text} for field, text in violations],
    }
    return ApiError(400, "\n".join(text for _, text in violations), details=(details,))


def invalid(field: str, text: str) -> ApiError:
    """400 about one field."""
    return bad_request([(field, text)])


def not_found(name: str) -> ApiError:
    return ApiError(404, f"Resource '{name}' was not found")


def conflict(name: str) -> ApiError:
    return ApiError(409, f"Resource '{name}' already exists")
