from miniature.audits.figure import Figure, at_least, below, between, table


def test_a_figure_says_whether_it_is_what_was_wanted() -> None:
    assert at_least("(b) right", 0.75, 0.75).line == "| (b) right | 0.750 | >= 0.75 | yes |"
    assert at_least("(b) right", 0.74, 0.75).line.endswith("| **no** |")
    assert below("(a) wins", 0.4, 0.4).line.endswith("| < 0.4 | **no** |")
    assert between("(a) wins", 0.6, 0.4, 0.6).line.endswith("| 0.4 to 0.6 | yes |")
    assert Figure("(a) ... style", 0.5).line == "| (a) ... style | 0.500 |  |  |"


def test_the_table_is_in_the_order_of_the_audits_and_keeps_each_audits_own() -> None:
    rows = table([Figure("(c) x", 1), Figure("(b) z", 1), Figure("(b) y", 1), Figure("(a) w", 1)]).splitlines()
    assert [row[2:7] for row in rows[2:]] == ["(a) w", "(b) z", "(b) y", "(c) x"]
