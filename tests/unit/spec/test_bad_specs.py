"""Every mistake gets one line with its place, what is wrong, and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.spec.load import problems_of

GOOD = """\
version: 1
name: shop
environments:
  staging: {variables: {size: small}}
  prod: {variables: {size: large}}
secrets:
  password: {variable: shop_password}
images:
  api: {context: services/api}
clouds:
  aws:
    region: eu-west-1
    registry: registry.example.com
    state: {bucket: state}
    cluster: ${cluster.name}
    stacks:
      network: {path: infra/network}
      cluster:
        path: infra/cluster
        after: [network]
        variables: {vpc: "${network.vpc_id}", size: "${env.size}"}
        secrets: {db: password}
    charts:
      api:
        path: charts/api
        images: {image: api}
        values: {where: "${environment}", secret: "${secret.password}"}
"""


@pytest.fixture
def write(tmp_path: Path):
    for folder in ("services/api", "infra/network", "infra/cluster", "charts/api"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "services/api/Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "infra/network/main.tf").write_text('output "vpc_id" {\n  value = 1\n}\n')

    variables = ("vpc", "size", "db")
    (tmp_path / "infra/cluster/main.tf").write_text("".join(f'variable "{v}" {{}}\n' for v in variables))

    def _write(text: str) -> Path:
        path = tmp_path / "platform.yaml"
        path.write_text(text)
        return path

    return _write


def problems(path: Path) -> list[str]:
    return [str(problem).removeprefix(f"{path}:") for problem in problems_of(path)]


def test_the_good_spec_has_no_problem(write) -> None:
    assert problems(write(GOOD)) == []


REPLACED = {
    "misspelt key": (
        "    region: eu-west-1",
        "    regoin: eu-west-1",
        ["11:3: 'region' is missing", "12:5: unknown key 'regoin' (did you mean 'region'?)"],
    ),
    "misspelt key deep inside": (
        "path: charts/api",
        "pth: charts/api",
        ["25:9: unknown key 'pth' (did you mean 'path'?)"],
    ),
    "a chart without a place": (
        "        path: charts/api\n",
        "        repository: https://charts.example\n        chart: api\n",
        ["25:9: api: a chart needs 'path', or all of 'repository', 'chart' and 'version'"],
    ),
    "a chart in two places": (
        "        path: charts/api\n",
        "        path: charts/api\n        repository: oci://registry.example/charts\n",
        ["25:9: api: a chart has either 'path', or 'repository', 'chart' and 'version'"],
    ),
    "a range of chart versions": (
        "        path: charts/api\n",
        "        repository: https://charts.example\n        chart: api\n        version: ^1.2\n",
        ["27:18: version: write one version (1.2.3): with a range each plan might take another chart"],
    ),
    "a login in the address of a repository": (
        "        path: charts/api\n",
        "        repository: https://user:word@charts.example\n        chart: api\n        version: 1.2.3\n",
        ["25:21: repository: a chart repository is https://… or oci://…; a login comes from 'connection'"],
    ),
    "values files that are not there": (
        "        path: charts/api\n",
        '        path: charts/api\n        values_files: ["values/${environment}.yaml"]\n',
        [
            "26:24: values/prod.yaml is not a file of the source",
            "26:24: values/staging.yaml is not a file of the source",
        ],
    ),
    "a values file named by a variable": (
        "        path: charts/api\n",
        '        path: charts/api\n        values_files: ["values/${env.size}.yaml"]\n',
        ["26:24: 0: the only reference that the name of a values file may hold is ${environment}"],
    ),
    "unknown cloud": (
        "  aws:",
        "  awss:",
        [
            "11:3: unknown key 'awss' (did you mean 'aws'?)",
        ],
    ),
    "wrong type": (
        "{context: services/api}",
        "{context: services/api, args: {V: 1}}",
        ["9:42: V: input should be a valid string (put it in quotes)"],
    ),
    "not a name": (
        "  password: {",
        "  Pass_word: {",
        [
            "7:3: 'Pass_word' cannot be a name (lower-case letters, digits and dashes, a letter first)",
            "22:23: there is no secret 'password' (did you mean 'Pass_word'?)",
            "27:52: ${secret.password}: there is no such secret (did you mean 'Pass_word'?)",
        ],
    ),
    "image of others": (
        "{context: services/api}",
        "{reference: x.io/api}",
        ["9:8: api: an image with a 'reference' needs its 'digest'"],
    ),
    "tests": (
        "clouds:\n",
        """tests:
  a: {commands: []}
  b: {commands: [x], image: web}
  c: {commands: [x], image: api, runner: kubernetes}
  d: {commands: [x], path: nowhere, environment: {A: "${network.vpc_id}", B: "${secret.password}"}}
  e: {commands: [x], runner: docker}
  f: {commands: [x], image: api, path: services}
clouds:
""",
        [
            "11:17: commands: tuple should have at least 1 item after validation, not 0",
            "12:29: there is no image 'web' (nothing builds it)",
            "13:6: c: 'cloud' and 'runner: kubernetes' need each other",
            "14:28: nowhere does not exist",
            "14:55: ${network.vpc_id}: tests run before stacks are applied: only ${environment} and ${env.<variable>} "
            "and ${secret.<name>} are known here",
            "15:6: e: 'runner: docker' needs an 'image' to run",
            "16:6: f: tests run in a 'path' of the source or in an 'image', not in both",
        ],
    ),
    "secret without place": (
        "{variable: shop_password}",
        "{}",
        [
            "7:13: password: a secret needs exactly one of 'variable', 'connection', 'secrets_manager', 'ssm', 'secret_manager', 'key_vault'"
        ],
    ),
    "secret in two places": (
        "{variable: shop_password}",
        "{variable: shop_password, connection: shop}",
        [
            "7:13: password: a secret needs exactly one of 'variable', 'connection', 'secrets_manager', 'ssm', 'secret_manager', 'key_vault'"
        ],
    ),
    "secret whose name no reference can hold": (
        "{variable: shop_password}",
        "{connection: shop/password}",
        ["7:26: connection: string should match pattern '^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$'"],
    ),
    "written twice": (
        "  prod: {variables: {size: large}}",
        "  staging: {variables: {size: large}}",
        ["5:3: 'staging' is written twice (first written in line 4)"],
    ),
    "duration": (
        "  prod: {",
        "  prod: {approval: {expires: soon}, ",
        ["5:30: expires: a duration is written like 30s, 15m, 4h, 2d or 1h30m"],
    ),
    "more approvals than approvers": (
        "  prod: {",
        "  prod: {approval: {high: 2, approvers: [bob]}, ",
        ["5:10: 2 approvals are needed, but only 1 may give one"],
    ),
    "a role as approvers": (
        "  prod: {",
        "  prod: {approval: {high: 2, approvers: [bob], group: Admin}, ",
        [
            "5:48: unknown key 'group' (known here: approvers, critical, emergency, expires, high, low, medium, plan_max_age, reason_from, remind, requester_may_approve, required)"
        ],
    ),
    "nobody approves a critical change": (
        "  prod: {",
        "  prod: {approval: {critical: 0}, ",
        ["5:31: critical: input should be greater than or equal to 1"],
    ),
    "unknown group": (
        "  prod: {",
        "  prod: {approval: {required: {high: [ledas]}}, ",
        ["5:39: there is no group 'ledas'"],
    ),
    "a window without quotes": (
        "  prod: {",
        "  prod: {windows: [{from: 9:00, to: 16:00}], ",
        [
            '5:27: from: 540 is not a time of the day: write it in quotes, such as "09:00"',
            '5:37: to: 960 is not a time of the day: write it in quotes, such as "09:00"',
        ],
    ),
    "a freeze that ends before it begins": (
        "  prod: {",
        "  prod: {freezes: [{from: 2026-12-20, to: 2026-12-19, reason: holidays}], ",
        ["5:20: 0: a freeze ends on the day it begins, or later"],
    ),
    "variable of one environment only": (
        "  prod: {variables: {size: large}}",
        "  prod: {}",
        ["21:54: ${env.size}: not a variable of prod"],
    ),
    "unknown variable": (
        "${env.size}",
        "${env.sise}",
        ["21:54: ${env.sise}: not a variable of staging, prod (did you mean 'size'?)"],
    ),
    "unknown secret": (
        "${secret.password}",
        "${secret.pasword}",
        ["27:52: ${secret.pasword}: there is no such secret (did you mean 'password'?)"],
    ),
    "secret of a stack": (
        "{db: password}",
        "{db: pw}",
        ["22:23: there is no secret 'pw'"],
    ),
    "unknown stack in a reference": (
        "cluster: ${cluster.name}",
        "cluster: ${clustr.name}",
        ["15:14: ${clustr.name}: aws has no stack 'clustr' (did you mean 'cluster'?)"],
    ),
    "unknown stack in after": (
        "after: [network]",
        "after: [netwrk]",
        [
            "20:17: there is no stack 'netwrk' (did you mean 'network'?)",
            "21:27: ${network.vpc_id}: 'cluster' does not come after 'network' (add it: after: [network])",
        ],
    ),
    "not declared after": (
        "        after: [network]\n",
        "",
        ["20:27: ${network.vpc_id}: 'cluster' does not come after 'network' (add it: after: [network])"],
    ),
    "cycle": (
        "network: {path: infra/network}",
        "network: {path: infra/network, after: [cluster]}",
        ["17:45: the stacks come after each other in a circle: network -> cluster -> network"],
    ),
    "after itself": (
        "network: {path: infra/network}",
        "network: {path: infra/network, after: [network]}",
        ["17:45: the stacks come after each other in a circle: network -> network"],
    ),
    "output that the module does not declare": (
        "${network.vpc_id}",
        "${network.vpcid}",
        ["21:27: ${network.vpcid}: the stack 'network' has no output 'vpcid' (did you mean 'vpc_id'?)"],
    ),
    "variable that the module does not declare": (
        'size: "${env.size}"',
        'sise: "${env.size}"',
        ["21:47: the stack 'cluster' has no variable 'sise' (did you mean 'size'?)"],
    ),
    "which output": (
        "${network.vpc_id}",
        "${network}",
        ["21:27: ${network}: which output? (write ${network.<output>})"],
    ),
    "not a reference": (
        "${network.vpc_id}",
        "${network vpc}",
        ["21:27: '${network vpc}' is not a reference (write ${stack.output})"],
    ),
    "unclosed reference": (
        "${network.vpc_id}",
        "${network.vpc_id",
        ["21:27: '${network.vpc_id' is not a reference (write ${stack.output})"],
    ),
    "state that depends on a stack": (
        "{bucket: state}",
        '{bucket: "${network.vpc_id}"}',
        ["14:22: ${network.vpc_id}: references are not replaced here"],
    ),
    "state of the environment": (
        "{bucket: state}",
        '{bucket: "state-${environment}"}',
        ["14:28: ${environment}: references are not replaced here"],
    ),
    "region of the environment": (
        "region: eu-west-1",
        "region: ${env.size}",
        ["12:13: ${env.size}: references are not replaced here"],
    ),
    "registry of a stack": (
        "registry: registry.example.com",
        "registry: ${cluster.registry}/shop",
        ["13:15: ${cluster.registry}: references are not replaced here"],
    ),
    "connection of the environment": (
        "    region: eu-west-1",
        "    region: eu-west-1\n    connection: aws_${environment}",
        ["13:21: ${environment}: references are not replaced here"],
    ),
    "a variable made of another": (
        "{size: large}",
        '{size: "${environment}"}',
        ["5:29: ${environment}: references are not replaced here"],
    ),
    "build argument of one environment only": (
        "{context: services/api}",
        '{context: services/api, args: {A: "${environment}", B: "${env.typo}"}}',
        ["9:64: ${env.typo}: not a variable of staging, prod"],
    ),
    "output and secret as build arguments": (
        "{context: services/api}",
        '{context: services/api, args: {A: "${network.vpc_id}", B: "${secret.password}"}}',
        [
            f"9:{column}: ${{{name}}}: an image is built once for all clouds: "
            "only ${environment} and ${env.<variable>} are known here"
            for column, name in ((43, "network.vpc_id"), (67, "secret.password"))
        ],
    ),
    "output in the name of a function": (
        "    charts:\n",
        "    functions:\n      hook: {target: lambda, path: charts/api, handler: a.b, runtime: x, role: r,\n"
        '        name: "${environment}-${env.size}-${network.vpc_id}"}\n    charts:\n',
        [
            "25:43: ${network.vpc_id}: a name is fixed before stacks are applied: "
            "only ${environment} and ${env.<variable>} are known here"
        ],
    ),
    "reserved word": (
        "network: {path: infra/network}",
        "network: {path: infra/network}\n      env: {path: infra/network}",
        ["18:7: a stack cannot be called 'env': references use that word"],
    ),
    "image that nobody builds": (
        "images: {image: api}",
        "images: {image: web}",
        ["26:25: there is no image 'web' (nothing builds it)"],
    ),
    "images without registry": (
        "    registry: registry.example.com\n",
        "",
        ["11:3: aws uses images, but has no 'registry'"],
    ),
    "stacks without state": (
        "    state: {bucket: state}\n",
        "",
        ["15:5: aws has stacks, but no 'state'"],
    ),
    "charts without cluster": (
        "    cluster: ${cluster.name}\n",
        "",
        ["22:5: aws has charts, but no 'cluster'"],
    ),
    "manifests that want two numbers of pods": (
        "    charts:\n",
        "    manifests:\n      edge:\n        path: charts/api\n        workloads:\n"
        "          deployment/api: {replicas: 2, autoscale: {max: 3, cpu: 80}}\n    charts:\n",
        [
            "27:27: deployment/api: 'replicas' and 'autoscale' want to set the same number; keep one of them",
        ],
    ),
    "manifests without anything": (
        "    charts:\n",
        "    manifests:\n      edge: {namespace: edge}\n    charts:\n",
        ["24:13: edge: there is nothing to apply: give a 'path', 'config' or secrets"],
    ),
    "unknown names in manifests": (
        "    charts:\n",
        "    manifests:\n      edge:\n        path: nowhere\n        images: {web: web}\n"
        '        secrets: {credentials: {TOKEN: "${secret.other}"}}\n    charts:\n',
        [
            "25:15: nowhere does not exist",
            "26:23: there is no image 'web' (nothing builds it)",
            "27:41: ${secret.other}: there is no such secret",
        ],
    ),
    "machines of nowhere": (
        "    charts:\n",
        "    machines:\n      web: {playbook: site.yml}\n    charts:\n",
        [
            "24:12: web: say which machines: give 'hosts' or 'inventory', one of the two",
            "24:23: site.yml is not a file of the source",
        ],
    ),
    "ways into machines": (
        "    charts:\n",
        "    machines:\n      web: {playbook: services/api/Dockerfile, hosts: {a: 10.0.0.1}, login: os_login}\n    charts:\n",
        ["24:77: os_login is a way into machines of gcp"],
    ),
    "unknown names of machines": (
        "    charts:\n",
        '    machines:\n      web: {playbook: services/api/Dockerfile, hosts: "${network.workers}",\n'
        '        inventory: ["x-${environment}.yml"], after: [db], key: other,\n'
        '        variables: {token: "${secret.other}"}}\n    charts:\n',
        [
            "24:12: web: say which machines: give 'hosts' or 'inventory', one of the two",
            "24:56: ${network.workers}: the stack 'network' has no output 'workers'",
            "25:21: x-prod.yml is not a file of the source",
            "25:21: x-staging.yml is not a file of the source",
            "25:54: there are no machines 'db'",
            "25:64: there is no secret 'other'",
            "26:29: ${secret.other}: there is no such secret",
        ],
    ),
    "machines in a circle": (
        "    charts:\n",
        "    machines:\n      a: {playbook: services/api/Dockerfile, hosts: {x: 10.0.0.1}, after: [b]}\n"
        "      b: {playbook: services/api/Dockerfile, hosts: {x: 10.0.0.1}, after: [a]}\n    charts:\n",
        ["24:75: the machines come after each other in a circle: a -> b -> a"],
    ),
    "a gate between no batches": (
        "    charts:\n",
        "    machines:\n      a: {playbook: services/api/Dockerfile, hosts: {x: 10.0.0.1}, gate: {url: http://x}}\n"
        "    charts:\n",
        ["24:10: a: a gate is between batches; give their sizes with 'serial'"],
    ),
    "path outside": (
        "path: charts/api",
        "path: ../charts/api",
        [
            "25:15: path: the path must stay inside the source (relative to the spec, without '..')",
        ],
    ),
    "absolute path": (
        "path: charts/api",
        "path: /charts/api",
        ["25:15: path: the path must stay inside the source (relative to the spec, without '..')"],
    ),
    "path with a reference": (
        "path: charts/api",
        "path: charts/${environment}",
        [
            "25:15: charts/${environment} does not exist",
            "25:15: path: a path cannot hold a reference: it is frozen with the source",
        ],
    ),
    "missing path": (
        "path: charts/api",
        "path: charts/app",
        ["25:15: charts/app does not exist"],
    ),
    "missing Dockerfile": (
        "{context: services/api}",
        "{context: services/api, dockerfile: Containerfile}",
        ["9:8: services/api has no Containerfile"],
    ),
    "versions that are none": (
        "name: shop\n",
        "name: shop\nterraform: {binary: tofu, required_version: newest}\n",
        [
            "3:45: required_version: 'newest' is not a version constraint, such as '>= 1.9' or '~> 1.11'",
        ],
    ),
    "a version that is a number": (
        "name: shop\n",
        "name: shop\nterraform: {required_version: 1.9}\n",
        ["3:31: required_version: input should be a valid string (put it in quotes)"],
    ),
    "a tool of the source": (
        "name: shop\n",
        "name: shop\nterraform:\n  binary: ./bin/terraform\n",
        [
            "4:11: binary: a program is named as on PATH (tofu) or by its absolute path on the workers",
        ],
    ),
    "a misspelt key of the tool": (
        "name: shop\n",
        "name: shop\nterraform: {version: ~> 1.9}\n",
        ["3:13: unknown key 'version' (did you mean 'required_version'?)"],
    ),
    "several at once": (
        "cluster: ${cluster.name}\n    stacks:\n      network: {path: infra/network}",
        "cluster: ${x.name}\n    stack:\n      network: {path: infra/network, typo: 1}",
        [
            "15:14: ${x.name}: aws has no stack 'x'",
            "16:5: unknown key 'stack' (did you mean 'stacks'?)",
        ],
    ),
}


@pytest.mark.parametrize("case", REPLACED)
def test_mistake(case: str, write) -> None:
    old, new, expected = REPLACED[case]
    assert GOOD.count(old) >= 1
    assert problems(write(GOOD.replace(old, new))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the file is empty"),
        ("a: [1, 2", "1:9: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: &x [*x]", "1:4: this value holds itself through an alias"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("just text", "the spec: "),
        ("? [a, b]\n: 1", "found unhashable key"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_text_that_is_no_spec(text: str, expected: str, write) -> None:
    found = problems(write(text))
    assert len(found) == 1
    assert expected in found[0]


def test_what_opentofu_files_declare_counts(write, tmp_path: Path) -> None:
    (tmp_path / "infra/cluster/main.tf").write_text('variable "vpc" {}\n')
    (tmp_path / "infra/cluster/more.tofu").write_text('variable "size" {}\nvariable "db" {}\n')
    assert problems(write(GOOD)) == []


def test_a_link_that_leads_outside(write, tmp_path: Path) -> None:
    path = write(GOOD.replace("charts/api", "charts/link"))
    (tmp_path / "charts/link").symlink_to("/usr")
    assert problems(path) == ["25:15: charts/link leads outside the source"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == ["1:1: cannot be read: No such file or directory"]
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert problems(tmp_path / "bytes.yaml") == ["1:1: cannot be read: it is not UTF-8 text"]


@pytest.mark.parametrize("value", ["1", "[]", "[x]", "{x: 1}", "{x: [1]}", "null", "text", "{x: {y: 1}}"])
@pytest.mark.parametrize("key", ["environments", "secrets", "images", "clouds", "aws", "stacks", "charts"])
def test_a_wrong_shape_is_a_problem_and_not_a_crash(key: str, value: str, write) -> None:
    lines = GOOD.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == f"{key}:")
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = next(
        (i for i in range(start + 1, len(lines)) if len(lines[i]) - len(lines[i].lstrip()) <= indent),
        len(lines),
    )
    text = "\n".join([*lines[:start], f"{lines[start]} {value}", *lines[end:]])
    assert problems(write(text)) or (key, value) in {("secrets", "{}")}
