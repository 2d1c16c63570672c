#!/bin/sh
# tools SOURCE DIRECTORY: puts helm and kubectl there, and Terraform or OpenTofu where SOURCE is `upstream`: then IAC says
# which of the two, and *_VERSION which one.
set -eu
source=$1 target=$2
mkdir -p "$target"

# fetch URL FILE SHA256: the file, if it is what the checksum says.
fetch() {
    curl --fail --silent --show-error --location --retry 3 --output "$2" "$1"
    echo "$3  $2" | sha256sum --check --status || {
        echo "tools: $1 is not what its checksum says" >&2
        exit 1
    }
}

# published URL NAME: the checksum that a list of them gives for a file, or the only one in it.
published() {
    curl --fail --silent --show-error --location --retry 3 "$1" |
        awk -v name="$2" 'NF == 1 || $2 == name || $2 == "*" name { print $1; exit }'
}

packages() {
    python3=/opt/triplane/bin/python
    "$python3" - "$target" <<'PYTHON'
import sys
from pathlib import Path

from triplane.sandbox.install import HELM
from triplane.sandbox.install_tools import install_archive_tools

install_archive_tools(Path(sys.argv[1]).parent, HELM, {"helm": "helm", "kubectl": "kubectl"})
PYTHON
}

upstream() {
    arch=$(dpkg --print-architecture)
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT

    case $IAC in
        terraform)
            version=$TERRAFORM_VERSION
            base=${TERRAFORM_URL:-https://releases.hashicorp.com/terraform}/$version
            ;;
        tofu)
            version=$TOFU_VERSION
            base=${TOFU_URL:-https://github.com/opentofu/opentofu/releases/download}/v$version
            ;;
        *) echo "tools: IAC is terraform or tofu, not $IAC" >&2 && exit 1 ;;
    esac
    name=${IAC}_${version}_linux_$arch.zip
    fetch "$base/$name" "$scratch/iac.zip" "$(published "$base/${IAC}_${version}_SHA256SUMS" "$name")"
    python3 -m zipfile -e "$scratch/iac.zip" "$scratch"
    mv "$scratch/$IAC" "$target"

    version=$HELM_VERSION
    base=${HELM_URL:-https://get.helm.sh}
    name=helm-v$version-linux-$arch.tar.gz
    fetch "$base/$name" "$scratch/helm.tar.gz" "$(published "$base/$name.sha256sum" "$name")"
    tar -xzf "$scratch/helm.tar.gz" -C "$target" --strip-components=1 "linux-$arch/helm"

    version=$KUBECTL_VERSION
    base=${KUBECTL_URL:-https://dl.k8s.io/release}/v$version/bin/linux/$arch
    fetch "$base/kubectl" "$target/kubectl" "$(published "$base/kubectl.sha256" kubectl)"
    chmod 0755 "$target"/*
}

case $source in
    packages | upstream) "$source" ;;
    *) echo "tools: the source is packages or upstream, not $source" >&2 && exit 1 ;;
esac
