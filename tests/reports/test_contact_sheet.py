"""A contact sheet: all pictures of a small set, some of a large one, never more than one can look at."""

from io import BytesIO

import numpy as np
from PIL import Image

from reports.contact_sheet import LARGEST, MOST, chosen, contact_sheet


def files(count: int, size: tuple[int, int]) -> list[bytes]:
    written = []
    for number in range(count):
        file = BytesIO()
        Image.new("RGB", size, (number % 256, number // 256, 99)).save(file, "PNG")
        written.append(file.getvalue())
    return written


def test_a_few_stand_in_rows_of_eight_in_their_order():
    sheet = Image.open(BytesIO(contact_sheet(files(10, (4, 4)))))
    assert sheet.size == (8 * 4, 2 * 4)
    assert [sheet.getpixel((4 * (n % 8), 4 * (n // 8)))[0] for n in range(10)] == list(range(10))


def test_pictures_keep_their_proportions():
    sheet = Image.open(BytesIO(contact_sheet(files(1, (1024, 512)))))
    assert sheet.size == (LARGEST, LARGEST // 2)


def test_of_many_some_are_chosen_at_even_distances():
    rows = chosen(20_000)
    assert (len(rows), rows[0], rows[-1]) == (MOST, 0, 19_999)
    assert set(np.diff(rows)) <= {100, 101}
    assert chosen(MOST) == list(range(MOST))


def test_a_sheet_has_an_end():
    for size in ((300, 300), (300, 3), (3, 300)):
        sheet = Image.open(BytesIO(contact_sheet(files(MOST, size))))
        assert max(sheet.size) <= 10_000
