"""Pictures of clusters' means, where the study of them was made in the run folder."""

from pathlib import Path

from generators.sharing.tree import Tree
from reports.page.trees import picture_uri
from studies.manifest import MeanEmbedding
from sweeps.record import Record

STUDY = "mean-embedding"


def means(run: Path, record: Record, tree: Tree) -> dict[int, str]:
    """Return pictures of clusters' means as data URIs by node: those of this record's prompts, model and tree.

    Raises:
        UserError: the study's manifest is damaged.
    """
    home = record.folder(run).parents[1]  # a view of several runs has a path of its own
    if not (home / "studies" / STUDY).is_dir():
        return {}
    uris = {}
    for part in MeanEmbedding.of(home):
        if part.baseline != record.baseline or any(
            getattr(part, axis) != getattr(record.config, axis) for axis in ("strategy", "features", "combiner")
        ):
            continue
        for mean in part.nodes:
            same_cluster = (
                mean.node < len(tree.parent)
                and mean.members == tree.leaf_order[tree.lo[mean.node] : tree.hi[mean.node]].tolist()
            )
            if same_cluster and (uri := picture_uri(part.file(mean.image))):
                uris[mean.node] = uri
    return uris
