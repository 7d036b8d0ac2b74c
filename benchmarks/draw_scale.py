"""The figure of ``benchmarks.scale`` and ``benchmarks.set_size``: ``python -m benchmarks.draw_scale [FILE.png]``."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import EngFormatter, NullFormatter, ScalarFormatter

from benchmarks import scale, set_size
from reports.style import theme

TARGET = Path(__file__).parent.parent / "docs" / "pictures" / "scale.png"
TEXT = scale.RESULTS.with_name("scale_text.json")
GIB = 2**30


def main() -> None:
    rows = json.loads(scale.RESULTS.read_text())["rows"]
    text = json.loads(TEXT.read_text())["rows"]  # of benchmarks.scale --embeddings FILE --sizes 19600 --out TEXT
    sets = json.loads(set_size.RESULTS.read_text())
    n = [row["prompts"] for row in rows]
    with theme():
        figure, grid = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
        axes = grid.ravel()
        axes[0].loglog(n, [row["seconds"] for row in rows], marker="o")
        axes[0].axhline(600, color="0.6", linestyle=":")
        axes[0].set(title="seconds to plan, two cores", xlabel="prompts")
        axes[1].semilogx(n, [row["peak_bytes"] / GIB for row in rows], marker="o")
        axes[1].axhline(8, color="0.6", linestyle=":")
        axes[1].set(title="peak memory, GiB", xlabel="prompts", ylim=(0, None))
        for kind, compared in (("synthetic", rows), ("real", text)):
            for row in compared:
                if "gap" in row:
                    label = f"{row['prompts']:,} {kind} prompts"
                    axes[2].plot(row["taus"], 100 * np.array(row["gap"]), marker="o", label=label)
        axes[2].axhline(2, color="0.6", linestyle=":")
        axes[2].set(title="points saved less than by exact Ward,\nat equal distance from the means", xlabel="tau")
        axes[2].legend(frameon=False)
        for (name, found), colour in zip(sets["sets"].items(), plt.rcParams["axes.prop_cycle"].by_key()["color"]):  # noqa: B905
            sizes = [each["prompts"] for each in found]
            for key, line in (("at_tau", "-"), ("at_spread", "--")):
                mean = [100 * float(np.mean(each[key])) for each in found]
                axes[3].semilogx(sizes, mean, line, color=colour, marker="o", label=name if line == "-" else None)
        synthetic = [("-", [row["savings"] for row in rows]), ("--", [row["at_spread"]["savings"] for row in rows])]
        for line, saved in synthetic:
            label = "synthetic" if line == "-" else None
            axes[3].semilogx(n, 100 * np.array(saved), line, color="0.4", marker="s", label=label)
        axes[3].set(
            title=f"steps saved, %: at tau {sets['tau']:g} (lines), at equal\ndistance from the means (dashed)",
            xlabel="prompts",
        )
        axes[3].legend(frameon=False, fontsize=8)
        for axis in (axes[0], axes[1], axes[3]):
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axes[0].yaxis.set_major_formatter(ScalarFormatter())
        axes[0].yaxis.set_minor_formatter(NullFormatter())
        target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
        figure.savefig(target, dpi=100)
        print(target)


if __name__ == "__main__":
    main()
