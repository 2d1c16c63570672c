"""What a customer has beside the platform: the secret in each cloud's store, and somebody who hears of deployments.

As a program it makes the store's secret and the topic, with the password that Airflow has in a Variable.
"""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

from clients import REGION, aws, azure, google

TOPIC = "streaming-deployments"
STORED = "https://secretmanager.googleapis.com/v1/projects/triplane-sandbox/secrets"
VAULT = "https://streaming-vault.vault.azure.net"
PATIENCE = 30.0


def fill_stores(password: str) -> None:
    """Put the database's password into the stores of all three clouds, as a new version where it is there already."""
    from azure.keyvault.secrets import SecretClient

    manager, call = aws("secretsmanager"), google()
    try:
        manager.create_secret(Name="streaming/database-password", SecretString=password)
    except manager.exceptions.ResourceExistsException:
        manager.put_secret_value(SecretId="streaming/database-password", SecretString=password)
    name = "streaming-database-password"
    if not any(found["name"].endswith(f"/{name}") for found in call(STORED).get("secrets", ())):
        call(f"{STORED}?secretId={name}", {"replication": {"automatic": {}}})
    payload = {"payload": {"data": base64.b64encode(password.encode()).decode()}}
    call(f"{STORED}/{name}:addVersion", payload)
    SecretClient(VAULT, azure()[0]).set_secret("database-password", password)


class Listener:
    """A queue that gets what Triplane tells the topic from now on."""

    def __init__(self) -> None:
        self._sqs, sns = aws("sqs"), aws("sns")
        topic = sns.create_topic(Name=TOPIC)["TopicArn"]
        self._url = self._sqs.create_queue(QueueName=TOPIC)["QueueUrl"]
        account = topic.split(":")[4]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{account}:{TOPIC}")
        self.told: list[dict[str, Any]] = []

    def heard(self, count: int) -> list[str]:
        """The events of the first ``count`` messages, once they are there."""
        end = time.monotonic() + PATIENCE
        while len(self.told) < count and time.monotonic() < end:
            found = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in found.get("Messages", ()):
                self.told.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [message["MessageAttributes"]["event"]["Value"] for message in self.told]


if __name__ == "__main__":
    fill_stores(os.environ["AIRFLOW_VAR_STREAMING_DATABASE_PASSWORD"])
    aws("sns").create_topic(Name=TOPIC)
