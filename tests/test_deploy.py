"""The cluster file and the recipes of docs/cluster.md: as far as can be told without a cloud."""

import copy
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml

import orbit4d

ROOT = Path(__file__).resolve().parents[1]
Cluster = dict[str, Any]

# KubeRay's types (ray-operator/apis/ray/v1): every name that is allowed, those required with a "!".
_JOB = (
    "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata "
    "clusterSelector submitterConfig managedBy deletionPolicy entrypoint runtimeEnvYAML jobId "
    "submissionMode entrypointResources entrypointNumCpus entrypointNumGpus "
    "ttlSecondsAfterFinished shutdownAfterJobFinishes suspend"
)
_CLUSTER = (
    "suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling "
    "gcsFaultToleranceOptions headGroupSpec! rayVersion workerGroupSpecs authOptions"
)
_HEAD = "template! headService enableIngress rayStartParams serviceType"
_GROUP = (
    "suspend groupName! replicas minReplicas! maxReplicas! idleTimeoutSeconds rayStartParams "
    "template! scaleStrategy numOfHosts"
)
_AUTOSCALER = (
    "resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode version env "
    "envFrom volumeMounts"
)
_POD = "containers! volumes nodeSelector tolerations terminationGracePeriodSeconds"
_CONTAINER = "name! image! resources! env volumeMounts"


def cluster() -> Cluster:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


def validate(config: Cluster) -> Cluster:
    """Do what ``ray up`` does before it asks the cloud for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def commands_of(config: Cluster) -> list[str]:
    return [c for name in config if name.endswith("_commands") for c in config[name]]


def blocks(kind: str) -> list[str]:
    text = (ROOT / "docs" / "cluster.md").read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words of every ``orbit4d ...`` in a text, with shell variables made numbers."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"(?<!`)orbit4d (build .*)", text):
        words = re.sub(r"\$\(\(.*?\)\)|\"\$\w+\"", "1", line).split("'")[0]
        yield [word for word in shlex.split(words, comments=True) if word != "&"]


def parse(words: list[str]) -> dict[str, Any]:
    """Parse a command as our own command line does, without running it."""
    group: Any = typer.main.get_command(orbit4d.app)
    return group.commands[words[0]].make_context(words[0], words[1:]).params


def test_the_cluster_file_passes_what_ray_up_checks() -> None:
    prepared = validate(cluster())
    types = prepared["available_node_types"]
    head = types.pop(prepared["head_node_type"])
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]  # on demand
    assert {t["node_config"]["InstanceMarketOptions"]["MarketType"] for t in types.values()} == {
        "spot"
    }
    assert sum(t["max_workers"] for t in types.values()) == prepared["max_workers"]
    assert any(t["resources"].get("GPU") for t in types.values())


def _typo(config: Cluster) -> None:
    config["available_node_types"]["cpu"]["max_worker"] = 3


def _negative(config: Cluster) -> None:
    config["max_workers"] = -1


def _no_head(config: Cluster) -> None:
    config["head_node_type"] = "heads"


def _text_for_list(config: Cluster) -> None:
    config["setup_commands"] = [{"run": "make node"}]


def _more_than_allowed(config: Cluster) -> None:
    config["available_node_types"]["cpu"]["min_workers"] = 41


@pytest.mark.parametrize("spoil", [_typo, _negative, _no_head, _text_for_list, _more_than_allowed])
def test_a_broken_copy_is_refused(spoil: Callable[[Cluster], None]) -> None:
    config = copy.deepcopy(cluster())
    spoil(config)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate(config)


def test_setup_names_what_exists_here() -> None:
    config = cluster()
    setup = " ".join(commands_of(config))
    targets = re.findall(r"make -C \S+ (\w+)", setup + " ".join(blocks("dockerfile")))
    assert set(targets) == {"node"}
    said = subprocess.run(
        ["make", "-n", "node", "PYTHON=true"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    extras = set(re.findall(r"'\.\[([\w,]+)\]'", said))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras == {"curate,remote"}
    assert set(extras.pop().split(",")) <= project["optional-dependencies"].keys()
    for file in re.findall(r"(?:scripts|constraints)[\w/.]*", said + setup):
        assert (ROOT / file).exists(), file
    assert config["file_mounts"]["/home/ubuntu/orbit4d"] == "."


def test_nodes_get_the_libraries_that_blender_needs() -> None:
    names = re.compile(r"\blib\w+\b")
    line = re.search(r'_PACKAGES = "([^"]+)"', (ROOT / "scripts/check_blender.py").read_text())
    assert line is not None
    needed = set(line[1].split())
    assert needed <= set(names.findall(" ".join(commands_of(cluster()))))
    (image,) = blocks("dockerfile")
    assert needed <= set(names.findall(image))


def test_commands_that_start_ray_have_options_that_ray_has() -> None:
    from ray.scripts.scripts import start

    (script,) = blocks("bash")
    starts = [c for c in commands_of(cluster()) if "ray start" in c]
    assert len(starts) == 2
    common = " ".join(re.findall(r"^common\+?=\((.*)\)", script, re.MULTILINE))
    inside = re.sub(r"\\\n\s*", " ", script).replace('"${common[@]}"', common)
    starts += re.findall(r".*ray start .*", inside)
    text = (ROOT / "docs/cluster.md").read_text().replace(script, "")
    starts += re.findall(r"^    (ray start .*)$", text, re.MULTILINE)
    assert len(starts) == 6
    for command in starts:
        words = re.sub(r"\"?\$\{?\w[^\s]*", "1", command.partition("ray start ")[2])
        start.make_context("start", [w for w in shlex.split(words) if w != "&"])


@pytest.mark.parametrize("file", ["ray_cluster.yaml", "docs/cluster.md"])
def test_builds_in_the_recipes_are_commands_of_ours(file: str) -> None:
    text = (ROOT / file).read_text()
    if file == "docs/cluster.md":
        text = text.replace(blocks("yaml")[0], "")  # see the RayJob's own test
    found = list(commands_in(re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
    assert len(found) == {"ray_cluster.yaml": 1, "docs/cluster.md": 3}[file]
    for words in found:
        assert parse(words)["address"]
    with pytest.raises(Exception, match="No such option: --adress"):
        parse(["build", "assets", "--out", "x", "--adress", "auto"])


def _check(found: dict[str, Any], names: str) -> dict[str, Any]:
    allowed = {name.rstrip("!") for name in names.split()}
    required = {name.rstrip("!") for name in names.split() if name.endswith("!")}
    assert found.keys() <= allowed, found.keys() - allowed
    assert found.keys() >= required, required - found.keys()
    return found


def _check_pod(template: dict[str, Any]) -> dict[str, Any]:
    pod = _check(_check(template, "spec! metadata")["spec"], _POD)
    (container,) = (_check(c, _CONTAINER) for c in pod["containers"])
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    return container


def test_the_rayjob_has_the_fields_of_its_kind_and_room_for_its_workers() -> None:
    (text,) = blocks("yaml")
    job = _check(yaml.safe_load(text), "apiVersion! kind! metadata! spec!")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = _check(job["spec"], _JOB)
    made = _check(spec["rayClusterSpec"], _CLUSTER)
    _check(made["autoscalerOptions"], _AUTOSCALER)
    _check_pod(_check(made["headGroupSpec"], _HEAD)["template"])
    build = parse(shlex.split(spec["entrypoint"])[1:])
    slots = 0
    for group in made["workerGroupSpecs"]:
        container = _check_pod(_check(group, _GROUP)["template"])
        asked = container["resources"]["requests"]
        slots += group["maxReplicas"] * int(asked["cpu"]) // int(build["worker_cpus"])
        assert container["resources"]["limits"] == asked  # of GPUs and for the memory killer
        scratch = group["rayStartParams"]["temp-dir"]
        assert any(scratch.startswith(m["mountPath"]) for m in container["volumeMounts"])
    assert build["workers"] <= slots
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert made["rayVersion"] == pinned[1]


def test_the_slurm_script_is_bash_with_directives_first() -> None:
    (script,) = blocks("bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    first = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])
    assert "set -euo pipefail" in lines
    set_here = set(re.findall(r"(?:^|[\s;]|read -r )(\w+)(?:\+?=| <)", script, re.MULTILINE))
    assert not re.search(r"\| (head|grep -q)", script)  # they end a pipe early: 141 by pipefail
    used = set(re.findall(r"\$\{?#?(\w+)", script)) | {"SLURM_NNODES"}
    from_slurm = {name for name in used if name.startswith("SLURM_")}
    assert {name for name in used if not name.isdigit()} <= set_here | from_slurm
    unquoted = re.findall(r"(?<![\"\w/=(-])\$\w+(?!\S*\")", script)
    assert unquoted == [], "word splitting"
