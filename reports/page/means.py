"""Pictures of clusters' means, where the study of them was made in the run folder."""

from pathlib import Path

from generators.sharing.tree import Tree
from reports.page.trees import picture_uri
from sweeps.record import Record
from sweeps.studies.manifest import MeanEmbedding

STUDY = "mean-embedding"


def means(run: Path, record: Record, tree: Tree) -> dict[int, str]:
    """By node, the picture of its mean as a data URI: those made of this record's prompts, model, settings and tree.

    Raises:
        UserError: the study's manifest is damaged.
    """
    home = record.folder(run).parents[1]  # of several runs' view, the record's own
    if not (home / "studies" / STUDY).is_dir():
        return {}
    found = {}
    for part in MeanEmbedding.of(home):
        if part.standard != record.standard or any(
            getattr(part, axis) != getattr(record.asked, axis) for axis in ("strategy", "features", "combiner")
        ):
            continue
        for each in part.nodes:
            known = (
                each.node < len(tree.parent)
                and each.members == tree.leaf_order[tree.lo[each.node] : tree.hi[each.node]].tolist()
            )
            if known and (uri := picture_uri(part.file(each.image))):
                found[each.node] = uri
    return found
