"""Container images in a spec: where they come from, how they are built and signed."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from triplane.spec.values import ImagePlatform, Name, SigningKey, SourcePath, Value

Builder = Literal["auto", "buildah", "docker", "codebuild", "cloud_build", "acr_tasks"]


class Image(Value):
    """A container image, built once for all clouds; or one that others have built, taken by its digest."""

    context: SourcePath = ""
    """The folder that is built."""
    reference: str | None = None
    """Where the image of others is: ``registry/repository:tag``."""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    dockerfile: SourcePath = "Dockerfile"
    """Relative to ``context``."""
    args: dict[str, str] = {}
    labels: dict[str, str] = {}
    """Beside those that say where it comes from."""
    builder: Builder = "auto"
    platforms: Annotated[tuple[ImagePlatform, ...], Field(strict=False)] = ()
    """``linux/amd64``; empty is the builder's own."""

    @model_validator(mode="after")
    def _built_or_fetched(self) -> Self:
        built = {"context", "dockerfile", "args", "labels"} & self.model_fields_set
        if self.reference is None:
            if not self.context or self.digest:
                raise ValueError(
                    "an image needs a 'context' to build, or the 'reference' and 'digest' of one"
                )
        elif built or self.digest is None:
            raise ValueError(
                f"an image with a 'reference' needs its 'digest'{' and no ' + min(built) if built else ''}"
            )
        return self


class Signing(Value):
    """How images are signed after they were pushed, with cosign."""

    key: SigningKey
    """Name of a secret with a private key of cosign, or a KMS URL: ``awskms:///alias/images``."""
    password: Name | None = None
    """Name of the secret with the password of that private key."""
    transparency_log: bool = False
    """Tell the public transparency log of Sigstore of each signature."""

    @property
    def in_kms(self) -> bool:
        """Whether ``key`` is a URL."""
        return "://" in self.key

    @model_validator(mode="after")
    def _password_of_a_secret(self) -> Self:
        if self.in_kms and self.password:
            raise ValueError("a key in a KMS has no 'password'")
        return self
