"""Mean embedding: the picture of a cluster's mean by itself."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.selection import evenly
from studies.base import Part, Study, every_source, sizes
from studies.manifest import MeanEmbedding, MeanNode
from sweeps.axes import canonical
from sweeps.grid import features_of, parse_strategy

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan
    from generators.sharing.tree import Tree
    from sweeps.grid import Source
    from sweeps.session import Session
    from sweeps.spec import SweepSpec

PER_HEIGHT = 6


class MeanEmbeddingStudy(Study):
    """Clusters' mean conditioning, denoised to the end beside their prompts' own pictures: does a mean mean something?

    The spec's taus are heights at which each tree is cut (0 is none): of the clusters of two prompts or more that a
    cut leaves, six are taken, evenly along the tree. Each is denoised for all steps on its prompts' combined
    conditioning, from the noise of its own key, which is how a plan in which it never splits would denoise it.
    """

    name = "mean-embedding"
    manifest = MeanEmbedding

    def parts(self, spec: "SweepSpec", device: str) -> Iterator[Part]:
        strategies = [(text, parse_strategy(text)) for text in spec.strategy]
        heights = [canonical(tau) for tau in spec.tau if tau > 0]
        for source in every_source(spec, device):
            if source.settings.noise == "official":
                raise UserError(
                    "the released code's one stream of noise has no place for a cluster's mean by itself",
                    "use --noise shared: one initial latent for all, as there",
                )
            for (text, strategy), features, combiner in product(
                strategies, features_of(spec, source.entry), spec.combiner
            ):
                how = {
                    "strategy": {
                        "name": strategy.name,
                        "version": strategy.version,
                        "parameters": strategy.model_dump(mode="json"),
                    },
                    "features": features,
                    "combiner": combiner,
                    "heights": heights,
                    "per_height": PER_HEIGHT,
                }
                yield Part(source, how, {"strategy": text, "features": features, "combiner": combiner})

    def node_steps(self, spec: "SweepSpec") -> int:
        """Return the evaluations of means and baselines; a sweep of the same spec has the latter as well."""
        trees = len(spec.strategy) * len(spec.features) * len(spec.combiner)
        nodes = PER_HEIGHT * sum(tau > 0 for tau in spec.tau)
        return sum(steps * (prompts + trees * min(nodes, prompts)) for prompts, steps in sizes(spec))

    def make_part(self, part: Part, folder: Path, session: "Session", run: Path) -> dict[str, Any]:
        from PIL import Image

        from generators.sharing.plan import treed
        from studies.work import baseline_pictures

        source, prompts = part.source, part.source.prompts
        baseline_pictures(source, session, run)
        strategy = parse_strategy(part.asked["strategy"])
        tree = treed(session.grouping(source, strategy, part.asked["features"], run)[0], strategy.name)
        chosen = clusters(tree, [float(height) for height in part.how["heights"]], PER_HEIGHT)
        order, nodes = tree.leaf_order, list[MeanNode]()
        pictures = self._denoised(
            source, session, run, means_plan(tree, list(chosen), source.steps, part.asked["combiner"])
        )
        for (node, height), pixels in zip(chosen.items(), pictures, strict=True):
            name = f"node-{node}.png"
            Image.fromarray(pixels).save(folder / name)
            members = order[tree.lo[node] : tree.hi[node]].tolist()
            score = float(tree.score[node])
            nodes.append(MeanNode(node=node, score=score, height=height, members=members, image=name))
        return {**part.asked, "prompts": list(prompts.prompts), "nodes": nodes}

    @staticmethod
    def _denoised(
        source: "Source", session: "Session", run: Path, plan: "SharingPlan | None"
    ) -> Sequence[NDArray[np.uint8]]:
        """Return the picture of every node of the plan."""
        from generators.noise import node_key
        from studies.work import decoded, denoised

        if plan is None:
            return []
        execution, keys = denoised(source, plan, session, run), source.keys
        nodes = plan.output[execution.prompts]
        latents = execution.latents[np.argsort(nodes)]
        own = [node_key([keys[prompt] for prompt in plan.members(node)]) for node in range(len(nodes))]
        return list(decoded(source, session, latents, own))


def clusters(tree: "Tree", heights: Sequence[float], most: int) -> dict[int, float]:
    """Return the clusters to show, and the height that each was chosen by.

    Of every height, at most `most` of the clusters of two prompts or more that cutting the tree there leaves, evenly
    along its leaves; a cluster that several heights leave counts for the first.

    Args:
        tree: of the prompts.
        heights: taus.
        most: how many of each height.
    """
    above = np.where(tree.parent < 0, np.inf, tree.score[tree.parent])
    chosen: dict[int, float] = {}
    for height in sorted(heights):
        left = np.flatnonzero((tree.score <= height) & (height < above) & (tree.hi - tree.lo > 1))
        new = [node for node in left[np.argsort(tree.lo[left])].tolist() if node not in chosen]
        chosen |= {new[place]: height for place in evenly(len(new), most)}
    return chosen


def means_plan(tree: "Tree", nodes: Sequence[int], steps: int, combiner: str) -> "SharingPlan | None":
    """Return the plan in which the i-th of these clusters is node i, denoised for all steps; None for no clusters.

    A plan's outputs are prompts': each cluster ends as one of its own prompts that no smaller one has taken.

    Args:
        tree: of the prompts.
        nodes: the clusters, by their numbers in the tree.
        steps: K.
        combiner: computes a cluster's conditioning from that of its prompts.
    """
    from generators.sharing.plan import SharingPlan

    if not nodes:
        return None
    lo, hi, order = tree.lo[nodes], tree.hi[nodes], tree.leaf_order
    output = np.full(tree.n_leaves, -1)
    for i in np.argsort(hi - lo, kind="stable"):
        members = order[lo[i] : hi[i]]
        output[members[output[members] < 0][0]] = i
    n = len(nodes)
    whole = np.full(n, steps)
    return SharingPlan(tree.n_leaves, steps, 0 * whole, whole, np.full(n, -1), order, lo, hi, output, combiner)
