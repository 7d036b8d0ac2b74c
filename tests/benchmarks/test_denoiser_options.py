"""The benchmark of denoiser options measures every one that a model can have, and writes what the tables read."""

import json
from pathlib import Path

from benchmarks.denoiser_options import main
from benchmarks.tables import tables


def test_every_option_is_measured_against_none(tmp_path: Path):
    main(["--quick", "--no-compile", "--model", "mini-flux", "--device", "cpu", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "denoiser_options.json").read_text())["results"]
    by_option = {each["option"]: each for each in found}
    assert {"autocast", "weights bf16"} <= by_option.keys()
    assert "channels-last" not in by_option, "FLUX has no convolutions"
    assert by_option["autocast"]["held"]["autocast"]
    assert by_option["autocast"]["output_moved"] > 1e-5
    assert "| mini-flux | autocast |" in tables(tmp_path)["denoiser_options"]
