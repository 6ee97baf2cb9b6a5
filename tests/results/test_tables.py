"""One list of rows, four ways to write it."""

import csv
import io

from hf_vasso.results.tables import csv_table, latex_table, markdown_table, text_table

ROWS = [
    {"method": "AdamW", "score": "73.9", "difference": "", "n": 3},
    {"method": "a longer name", "score": "8.1", "difference": "+1.0", "n": 10},
]
ATTACK = r"a|b <script> \| \\< \input{x} 5 % & $x$ #1 a_b ~ ^ [c] *"


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
    assert text_table([{"empty": ""}, {"empty": ""}]).split("\n")[2:] == ["", ""]


def test_intervals_and_ranges_stand_to_the_right():
    rows = [{"score": "90.1 ± 0.4 / 86.5 ± 0.6", "n": "3–5"}, {"score": "[-0.10, +0.20]", "n": "1.9e-06"}]
    lines = text_table([*rows, {"score": "", "n": "7"}]).splitlines()
    assert lines[2:] == [
        "90.1 ± 0.4 / 86.5 ± 0.6      3–5",
        "         [-0.10, +0.20]  1.9e-06",
        " " * 31 + "7",
    ]


def test_markdown_stays_in_its_cell_and_is_no_html():
    line = markdown_table([{"name": ATTACK + "\nnext"}]).splitlines()[2]
    assert line == r"| a\|b \<script> \| \\\< \input{x} 5 % & $x$ #1 a_b ~ ^ [c] * next |"
    linked = "[`sam`](https://arxiv.org/abs/2010.01412)"
    assert linked in markdown_table([{"paper": linked}])


def test_csv_is_read_again():
    rows = [{"name": 'a,"b"\nc', "n": "1"}, {"name": ATTACK, "n": ""}]
    assert list(csv.DictReader(io.StringIO(csv_table(rows)))) == rows


def test_csv_holds_no_formula():
    attacks = ["=1+1", "+cmd|' /C calc'!A0", "-a", "@SUM(A1)", "\t=1", "+1+1", "-2*3", "+1\n"]
    rows = [{"=name": attack} for attack in attacks]
    assert list(csv.DictReader(io.StringIO(csv_table(rows)))) == [{"'=name": f"'{attack}"} for attack in attacks]
    numbers = ["+0.14", "-0.0087", "-3.6e-12", "+7", "-inf", "[-0.1, +0.2]", "0 of 3", "", -0.5]
    read = list(csv.reader(io.StringIO(csv_table([{"n": number, "m": ""} for number in numbers]))))
    assert [cells[0] for cells in read[1:]] == list(map(str, numbers))


def test_latex():
    assert latex_table([{"task ↑ (%)": "90.1 ± 0.4", "n": "3–5", "name": ATTACK}]).splitlines() == [
        r"\begin{tabular}{rrl}",
        r"\hline",
        r"task $\uparrow$ (\%) & n & name \\",
        r"\hline",
        r"90.1 $\pm$ 0.4 & 3--5 & a$|$b $<$script$>$ \textbackslash{}$|$ \textbackslash{}\textbackslash{}$<$ "
        r"\textbackslash{}input\{x\} 5 \% \& \$x\$ \#1 a\_b \textasciitilde{} \textasciicircum{} {[}c{]} {*} \\",
        r"\hline",
        r"\end{tabular}",
    ]
