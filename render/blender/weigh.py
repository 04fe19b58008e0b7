"""Which vertices of a clip are measured, and how much surface each stands for."""

import numpy as np

from render.visible import Picks, thinned

Meshes = list[tuple[int, float]]  # of each drawn mesh: vertices, growth of areas in the world


class Sample:
    """The vertices that are measured at each time; see ``render.visible.thinned``."""

    def __init__(
        self,
        areas: np.ndarray,
        meshes: Meshes,
        points_max: int,
        told: tuple[list[int], list[float], int] | None,
    ) -> None:
        """Choose, unless told.

        Args:
            areas: (n,) of each vertex at rest, in its mesh's own space.
            meshes: at rest.
            points_max: how many are measured.
            told: indices, chances, and out of how many vertices.
        """
        self._areas = areas
        self._points_max = points_max
        if told is None:
            self._picks = thinned(areas * _each(meshes), points_max)
        else:
            indices, chances, vertices = told
            self._picks = Picks(np.array(indices, np.int64), np.array(chances, float), vertices)
        self._grown: list[np.ndarray] = []

    def at(self, meshes: Meshes) -> np.ndarray:
        """Return the vertices that are measured at a time, given the meshes that it shows."""
        growth = _each(meshes)
        if len(growth) != self._picks.vertices:  # not the mesh that was at rest
            self._picks = thinned(np.ones(len(growth)), self._points_max)
        self._grown.append(growth[self._picks.indices])
        return self._picks.indices

    def weights(self) -> np.ndarray:
        """Weigh the vertices by their surface, the mean over the times; alike if it is not known.

        To be asked only where all times show equally many vertices.
        """
        chosen = self._picks
        if chosen.vertices != len(self._areas):
            return np.ones(len(chosen.indices))
        return self._areas[chosen.indices] * np.mean(self._grown, axis=0) / chosen.chances


def _each(meshes: Meshes) -> np.ndarray:
    """Say by how much each vertex's area grows, (n,)."""
    counts, growths = [count for count, _ in meshes], [growth for _, growth in meshes]
    return np.repeat(np.array(growths, float), np.array(counts, np.int64))
