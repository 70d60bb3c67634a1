import pandas as pd

from crossfold.data.text_tables import fixed_width


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    table = pd.DataFrame({"Name": ["Müller, 1", "x"], "N": ["1", "10000"], "Note": ["", "y"]})
    assert fixed_width(table, left=["Name", "Note"]) == (
        "Name           N  Note\nMüller, 1      1\nx          10000  y"
    )


def test_a_table_without_rows_is_its_heading() -> None:
    assert fixed_width(pd.DataFrame(columns=["A", "B"])) == "A  B"
