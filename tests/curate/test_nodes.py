"""Nodes of a cluster are looked at before they are trusted."""

import threading
from pathlib import Path
from typing import Any

import pytest

from curate.cluster import RayOptions
from curate.code_package import code_files
from curate.nodes import check_nodes, needs_of
from curate.ray_session import connected
from shards.errors import MachineError


@pytest.mark.ray
def test_code_that_is_laid_down_anew_under_a_node_is_looked_for_again(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    (tmp_path / "logs").mkdir()
    try:
        with (
            connected(RayOptions(address=cluster.address)) as ray,
            needs_of([], [], tmp_path) as needs,
        ):
            check_nodes(ray, needs, {"CPU": 1})
            file = ray.get(ray.remote(code_files).remote())["shards/camera.py"]
            assert file != code_files()["shards/camera.py"]  # it is what was sent
            away = file.rename(file.with_suffix(".away"))
            with pytest.raises(MachineError, match="has other code of orbit4d"):
                check_nodes(ray, needs, {"CPU": 1})
            threading.Timer(0.4, away.rename, (file,)).start()
            check_nodes(ray, needs, {"CPU": 1})
    finally:
        cluster.shutdown()
