"""One list of rows, two ways to write it."""

from hf_vasso.results.tables import markdown_table, text_table

ROWS = [
    {"method": "AdamW", "score": "73.9", "difference": "", "n": 3},
    {"method": "a longer name", "score": "8.1", "difference": "+1.0", "n": 10},
]


def test_text_table():
    assert text_table(ROWS).splitlines() == [
        "method         score  difference   n",
        "-------------  -----  ----------  --",
        "AdamW           73.9               3",
        "a longer name    8.1        +1.0  10",
    ]


def test_markdown_table():
    assert markdown_table(ROWS).splitlines() == [
        "| method        | score | difference |  n |",
        "| ------------- | ----: | ---------: | -: |",
        "| AdamW         |  73.9 |            |  3 |",
        "| a longer name |   8.1 |       +1.0 | 10 |",
    ]


def test_a_narrow_markdown_column():
    assert markdown_table([{"n": 3}]).splitlines() == ["|  n |", "| -: |", "|  3 |"]


def test_a_column_of_words_stands_to_the_left():
    assert text_table([{"better": "higher"}, {"better": "x"}]).splitlines()[2:] == ["higher", "x"]
