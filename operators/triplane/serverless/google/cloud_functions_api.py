"""The REST calls of Cloud Functions v2 that a deployment needs. Waits for nothing, raises ``google.api_core``'s errors."""

from __future__ import annotations

from typing import Any, Final

ROOT: Final = "https://cloudfunctions.googleapis.com/v2"
CALL_SECONDS: Final = 10.0
UPLOAD_SECONDS: Final = 60.0
"""The longest silence while a package is sent."""
PAGES: Final = 5
Body = dict[str, Any]


class CloudFunctionsApi:
    """``session`` is a ``google.auth.transport.requests.AuthorizedSession``."""

    def __init__(self, session: Any, *, project: str, region: str) -> None:
        self._session = session
        self.project = project
        self.parent = f"projects/{project}/locations/{region}"

    def get(self, name: str) -> Body | None:
        """The function, None when there is none."""
        from google.api_core.exceptions import NotFound

        try:
            return self._ask("GET", f"{self.parent}/functions/{name}")
        except NotFound:
            return None

    def create(self, name: str, body: Body) -> None:
        """Begin to make the function."""
        self._ask("POST", f"{self.parent}/functions", body, functionId=name)

    def patch(self, name: str, body: Body, paths: list[str]) -> None:
        """Begin to change ``paths`` of the function. Raises Conflict while another operation is at work on it."""
        self._ask("PATCH", f"{self.parent}/functions/{name}", body, updateMask=",".join(paths))

    def delete(self, name: str) -> None:
        """Begin to delete the function, with its service."""
        self._ask("DELETE", f"{self.parent}/functions/{name}")

    def upload(self, package: bytes) -> Body:
        """Send a package to where Google keeps it for a build; returns the build's ``storageSource``."""
        import requests
        from google.api_core.exceptions import from_http_response

        place = self._ask("POST", f"{self.parent}/functions:generateUploadUrl", {})
        # The URL is signed for this content type, and refuses a token.
        answer = requests.put(
            place["uploadUrl"],
            data=package,
            headers={"Content-Type": "application/zip"},
            timeout=UPLOAD_SECONDS,
        )
        if not answer.ok:
            raise from_http_response(answer)
        return dict(place["storageSource"])

    def operation(self, name: str, label: tuple[str, str]) -> Body | None:
        """The last operation that has set this label on the function, None when Google does not know one (any more)."""
        from google.api_core.exceptions import MethodNotImplemented

        try:
            return self._operation(name, label)
        except MethodNotImplemented:
            return None

    def _operation(self, name: str, label: tuple[str, str]) -> Body | None:
        # Google may name the project by its number.
        ending, token = f"/{self.parent.partition('/locations/')[2]}/functions/{name}", ""
        for _ in range(PAGES):
            page = self._ask("GET", f"{self.parent}/operations", pageSize="100", pageToken=token)
            for each in page.get("operations", []):
                metadata = each.get("metadata", {})
                labels = metadata.get("requestResource", {}).get("labels", {})
                if metadata.get("target", "").endswith(ending) and labels.get(label[0]) == label[1]:
                    return dict(each)
            token = page.get("nextPageToken", "")
            if not token:
                return None
        return None

    def _ask(self, verb: str, path: str, body: Body | None = None, **query: str) -> Body:
        from google.api_core.exceptions import from_http_response

        params = {key: value for key, value in query.items() if value}
        answer = self._session.request(verb, f"{ROOT}/{path}", json=body, params=params, timeout=CALL_SECONDS)
        if not answer.ok:
            raise from_http_response(answer)
        found: Body = answer.json()
        return found
