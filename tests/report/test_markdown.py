"""Tables in Markdown: every cell stays a cell, whatever is in it."""

from simhw.report.markdown import markdown_table


def test_a_table_is_headings_a_rule_and_rows():
    assert markdown_table(["machine", "speed-up"], [["bf16", "1.00"], ["fpraker", ""]]) == [
        "| machine | speed-up |",
        "| --- | --- |",
        "| bf16 | 1.00 |",
        "| fpraker |  |",
    ]


def test_bars_and_line_breaks_of_names_do_not_break_the_table():
    (_, _, row) = markdown_table(["name"], [["a|b\nc"]])
    assert row == "| a\\|b c |"
