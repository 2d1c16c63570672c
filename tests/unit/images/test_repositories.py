from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from triplane.core.errors import InputError, TransientError
from triplane.images.reference import Reference
from triplane.images.repositories import artifact_registry, ecr

TARGET = Reference.parse("europe-west1-docker.pkg.dev/shop/images/shop/api:t")


class FakeEcr:
    class exceptions:
        class RepositoryNotFoundException(Exception):
            pass

        class RepositoryAlreadyExistsException(Exception):
            pass

    def __init__(self, there: bool, race: bool = False) -> None:
        self.there, self.race = there, race
        self.created: list[Mapping[str, Any]] = []

    def describe_repositories(self, **kwargs: Any) -> None:
        if not self.there:
            raise self.exceptions.RepositoryNotFoundException

    def create_repository(self, **kwargs: Any) -> None:
        if self.race:
            raise self.exceptions.RepositoryAlreadyExistsException
        self.created.append(kwargs)


@pytest.mark.parametrize(
    ("there", "race", "created"), [(True, False, 0), (False, False, 1), (False, True, 0)]
)
def test_a_missing_ecr_repository_is_created(there: bool, race: bool, created: int) -> None:
    client = FakeEcr(there, race)
    ecr(client, "r", {}, lambda line: None)
    assert len(client.created) == created


def test_the_settings_of_an_ecr_repository() -> None:
    client = FakeEcr(False)
    ecr(client, "r", {"immutable_tags": True, "scan_on_push": True}, lambda line: None)
    assert client.created == [
        {
            "repositoryName": "r",
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
        }
    ]


class Answer:
    def __init__(self, status_code: int, **body: Any) -> None:
        self.status_code, self.text = status_code, json.dumps(body)

    def json(self) -> Any:
        return json.loads(self.text)


class FakeSession:
    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    def get(self, url: str, **kwargs: Any) -> Answer:
        return self._ask("GET", url, kwargs)

    def post(self, url: str, **kwargs: Any) -> Answer:
        return self._ask("POST", url, kwargs)

    def _ask(self, method: str, url: str, kwargs: dict[str, Any]) -> Answer:
        self.asked.append((method, url.partition("/v1/")[2], kwargs.get("json")))
        return self.answers.pop(0)


def test_a_missing_artifact_registry_repository_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane.images.repositories.time.sleep", lambda seconds: None)
    session = FakeSession(Answer(404), Answer(200, name="op"), Answer(200, name="op", done=True))
    artifact_registry(session, TARGET, {"immutable_tags": True}, lambda line: None)
    parent = "projects/shop/locations/europe-west1"
    assert session.asked == [
        ("GET", f"{parent}/repositories/images", None),
        ("POST", f"{parent}/repositories", {"format": "DOCKER", "dockerConfig": {"immutableTags": True}}),
        ("GET", "op", None),
    ]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([Answer(200)], None),
        ([Answer(404), Answer(409)], None),
        ([Answer(403, error="denied")], InputError),
        ([Answer(404), Answer(503)], TransientError),
        ([Answer(404), Answer(200, name="op", done=True, error={"message": "quota"})], InputError),
    ],
)
def test_other_answers_of_artifact_registry(answers: list[Answer], error: type[Exception] | None) -> None:
    session = FakeSession(*answers)
    if error is None:
        artifact_registry(session, TARGET, {}, lambda line: None)
    else:
        with pytest.raises(error, match="images was not created"):
            artifact_registry(session, TARGET, {}, lambda line: None)
    assert not session.answers


def test_repositories_of_another_google_registry_are_not_made() -> None:
    with pytest.raises(InputError, match="make this one by hand"):
        artifact_registry(FakeSession(), Reference.parse("gcr.io/shop/api:t"), {}, lambda line: None)
