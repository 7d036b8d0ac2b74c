"""`bench power`: its JSON against the functions behind it, its table, its mistakes, and that it starts light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metrics.power import detectable_difference, difference_power, noninferiority_power, pairs_for_noninferiority


def test_json_is_what_was_asked_and_both_answers(bench):
    result = bench("power", "--prompts", 500, "--ties", 0.05, "--difference", 0.1, "--delta", 0.04, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["prompts"], found["ties"], found["power"]) == (500, 0.05, 0.8)
    assert found["differs"]["difference"] == 0.1
    assert found["differs"]["prompts_needed"] == 185
    assert found["differs"]["power"] == difference_power(500, 0.1, 0.05)
    assert found["differs"]["smallest"] == detectable_difference(500, 0.05)
    assert found["no_worse"]["delta"] == 0.04
    assert found["no_worse"]["prompts_needed"] == pairs_for_noninferiority(0.04, 0.05)
    assert found["no_worse"]["power"] == noninferiority_power(500, 0.04, 0.05)
    assert found["no_worse"]["smallest"] > 0.04, "500 prompts are too few for 4 points"


def test_the_table_says_what_the_paper_s_100_images_can_show(bench):
    result = bench("power", "--prompts", 100)
    assert result.exit_code == 0, result.output
    differs, no_worse = result.stdout.splitlines()[2:4]
    assert differs.split()[-4:] == ["-", "-", "13.8", "points"]
    assert no_worse.split()[-4:] == ["780", "17.1%", "13.6", "points"]


def test_without_prompts_it_says_how_many_are_needed(bench):
    found = json.loads(bench("power", "--difference", "-0.1", "--power", 0.9, "--json").stdout)
    assert found["differs"]["prompts_needed"] > 200
    assert (found["prompts"], found["differs"]["smallest"], found["no_worse"]["power"]) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompts", 0], "0 prompts"),
        (["--prompts", 100, "--delta", 5], "0.05 is 5 points"),
        (["--ties", 5], "0.05 is 5 in 100"),
        (["--power", 80], "0.8 is usual"),
        (["--difference", 0], "difference of 0"),
        (["--difference", 0.5, "--ties", 0.2], "at most 0.4"),
    ],
)
def test_a_number_that_cannot_be_meant_is_one_line_and_what_to_do(bench, arguments, says):
    result = bench("power", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_it_needs_no_torch():
    code = (
        "import sys\nfrom bench.main import app\nsys.argv = ['bench', 'power', '--prompts', '100', '--json']\n"
        "try: app()\nfinally: assert not {'torch', 'diffusers', 'mlflow'} & {*sys.modules}"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["prompts"] == 100
