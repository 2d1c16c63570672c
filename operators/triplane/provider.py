"""What Airflow wants to know about this provider package."""

from __future__ import annotations

from typing import Any

from triplane import __version__


def _option(
    description: str, *, default: str | None = None, example: str | None = None, sensitive: bool = False
) -> Any:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": "string",
        "example": example,
        "default": default,
        "sensitive": sensitive,
    }


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-triplane",
        "name": "Triplane",
        "description": "Deploys one platform to AWS, Google Cloud and Azure: "
        "Terraform, virtual machines with Ansible, container images, Helm releases, serverless functions.",
        "versions": [__version__],
        "extra-links": [
            "triplane.images.links.BuildLink",
            "triplane.pipelines.links.PipelineLink",
            "triplane.serverless.links.ConsoleLink",
        ],
        "notifications": ["triplane.notify.notifier.TriplaneNotifier"],
        "config": {
            "triplane": {
                "description": "Where Triplane finds its platform and keeps its artifacts.",
                "options": {
                    "platform": _option(
                        "Path of the platform spec that the DAGs are built from; a relative one starts at the folder of "
                        "the DAG file. $AIRFLOW_HOME/platform.yaml if not set.",
                        example="/srv/platform/platform.yaml",
                    ),
                    "terraform_bin": _option(
                        "The Terraform or OpenTofu of this worker: `terraform`, `tofu`, a path, or `bundled` for the "
                        "Terraform of the extra [terraform]. If not set: terraform on PATH, else tofu on PATH, "
                        "else the bundled one.",
                        example="tofu",
                    ),
                    "pod_templates": _option(
                        "Folder with aws.yaml, gcp.yaml and azure.yaml: the pods in which the Kubernetes executor runs the "
                        "tasks of each cloud's DAG, with that cloud's identity alone. If not set: its own template for all.",
                        example="/opt/airflow/pod-templates",
                    ),
                    "artifact_store": _option(
                        "URL of the artifact store, a folder, s3://, gs:// or abfs:// (an ObjectStoragePath); "
                        "$AIRFLOW_HOME/triplane if not set.",
                        example="s3://aws_default@my-bucket/triplane",
                    ),
                    "artifact_key": _option(
                        "Fernet keys that encrypt the artifact store, separated by commas, the newest first.",
                        sensitive=True,
                    ),
                    "signing_key": _option(
                        "Keys that sign approval decisions, separated by commas, the newest first. "
                        "Give them to workers only.",
                        sensitive=True,
                    ),
                },
            }
        },
    }
