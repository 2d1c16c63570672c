"""Extracts resource schemas of the real Terraform providers from the @cdktf npm packages.

usage: extract.py DIRECTORY-WITH-UNPACKED-PACKAGES   (see README.md; writes the files beside this script)
"""

import base64
import json
import re
import sys
from pathlib import Path

RESOURCES = {
    "aws": (
        "vpc",
        "subnet",
        "internet-gateway",
        "security-group",
        "vpc-security-group-ingress-rule",
        "route",
        "s3-bucket",
        "iam-role",
        "iam-role-policy",
        "iam-role-policy-attachment",
        "eks-cluster",
        "eks-node-group",
        "db-subnet-group",
        "db-instance",
        "kinesis-stream",
        "sqs-queue",
    ),
    "google": (
        "compute-network",
        "compute-subnetwork",
        "storage-bucket",
        "service-account",
        "container-cluster",
        "sql-database-instance",
        "pubsub-topic",
    ),
    "azurerm": (
        "virtual-network",
        "subnet",
        "storage-account",
        "storage-container",
        "user-assigned-identity",
        "kubernetes-cluster",
        "postgresql-flexible-server",
        "eventhub-namespace",
        "eventhub",
    ),
}
FIELD = re.compile(
    r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(.*?)(?=\n  // \w+ - computed|\Z)", re.S
)
GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getStringMapAttribute": "map(string)",
    "getBooleanMapAttribute": "map(bool)",
    "getNumberListAttribute": "list(number)",
    "getListAttribute": "list(string)",
}


def typescript(package: Path, resource: str) -> str:
    """The TypeScript that the compiled modules carry in their source maps."""
    parts = []
    for module in sorted((package / "lib" / resource).rglob("*.js")):
        found = re.search(r"sourceMappingURL=data:application/json;base64,(\S+)", module.read_text())
        assert found, module
        parts.append(json.loads(base64.b64decode(found[1]))["sourcesContent"][0])
    return "\n".join(parts)


def fields(code: str, class_name: str) -> dict[str, object]:
    """Attributes ("optional computed string") and blocks ({"nesting", "fields"}) of one class."""
    start = re.search(rf"export class {class_name} extends", code)
    assert start, class_name
    body = code[start.start() :].split("\n}\n", 1)[0]
    return {
        name: field(code, name, (computed, optional, required), text)
        for name, computed, optional, required, text in FIELD.findall(body)
    }


def field(code: str, name: str, flags: tuple[str, str, str], text: str) -> object:
    words = [
        word for word, flag in zip(("computed", "optional", "required"), flags, strict=True) if flag == "true"
    ]
    if nested := re.search(r"private _\w+ = new (\w+?)(OutputReference|List)\(this, \"\w+\"(, \w+)?\)", text):
        kind = re.search(rf"\b{name}: {{\s+value: [^\n]+\n\s+isBlock: true,\n\s+type: \"(\w+)\"", code)
        nesting = kind[1] if kind else "list"
        return {
            "is": " ".join(words),
            "nesting": "single" if nesting == "struct" and name == "timeouts" else nesting,
            "fields": fields(code, nested[1] + "OutputReference"),
        }
    if "cdktf.StringMap(" in text:
        return " ".join([*words, "map(string)"])
    getter = re.search(r"this\.(get\w+)\(", text)
    kind_name = GETTERS[getter[1]] if getter else "unknown"
    if "cdktf.Fn.tolist" in text:
        kind_name = kind_name.replace("list", "set")
    return " ".join([*words, kind_name])


def types(root: Path) -> list[str]:
    """Every resource type of the providers; what is read only has a folder of its own in a package."""
    return sorted(
        name
        for provider in RESOURCES
        for module in (root / provider / "package" / "lib").glob("*/index.js")
        if module.parent.name != "provider" and not module.parent.name.startswith(f"data-{provider}-")
        for name in re.findall(r'tfResourceType = "([a-z0-9_]+)"', module.read_text())
    )


def main(root: Path) -> None:
    Path(__file__).with_name("types.txt").write_text("\n".join(types(root)) + "\n")
    for provider, resources in RESOURCES.items():
        package = root / provider / "package"
        meta = json.loads((package / "package.json").read_text())["cdktf"]["provider"]
        schemas = {}
        for resource in resources:
            code = typescript(package, resource)
            found = re.search(r"export class (\w+) extends cdktf\.TerraformResource", code)
            assert found, resource
            schemas[f"{provider}_{resource.replace('-', '_')}"] = fields(code, found[1])
        document = {"source": meta["name"], "version": meta["version"], "resources": schemas}
        Path(__file__).with_name(f"{provider}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
