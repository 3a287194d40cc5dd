"""Tables as people write them: quotes, line breaks, and names joined by other marks than ';'."""

import pytest

from recam.data.label_table import joined_names, part_labels, read_table
from recam.errors import DataError


def read(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, lambda name: name.endswith(".jpg"))


def told(tmp_path, problems):
    return [(p.kind, p.where.removeprefix(f"{tmp_path}/"), p.message) for p in problems]


def test_a_quote_that_is_not_closed_names_its_line(tmp_path):
    table = read(tmp_path, 'image,labels\n0.jpg,"cat\n1.jpg,dog\n2.jpg,cat\n')
    assert told(tmp_path, table.problems) == [
        ("bad-row", "labels.csv:2", "opens a quote that is not closed. Close it, or take it out; the line is not used.")
    ]
    assert [(row.entry, sorted(row.names)) for row in table.rows] == [("1.jpg", ["dog"]), ("2.jpg", ["cat"])]


def test_a_quote_that_another_row_closes_is_not_closed_either(tmp_path):
    table = read(tmp_path, 'image,labels\n0.jpg,cat\n1.jpg,"dog\n2.jpg,cat\n3.jpg,ox"\n4.jpg,"cat\n5.jpg,"dog;ox"\n')
    assert [(p.where.rpartition(":")[2], p.message.split(":")[0]) for p in table.problems] == [
        ("3", "opens a quote that is not closed before line 5"),
        ("6", "opens a quote that is not closed. Close it, or take it out; the line is not used."),
    ]
    assert [row.entry for row in table.rows] == ["0.jpg", "2.jpg", "3.jpg", "5.jpg"]


def test_a_quote_over_more_than_the_reader_takes(tmp_path):
    table = read(tmp_path, 'image,labels\n0.jpg,"cat\n' + "x,dog\n" * 30_000)
    assert [p.where.rpartition(":")[2] for p in table.problems] == ["2"]
    assert len(table.rows) == 30_000


def test_text_behind_a_quote(tmp_path):
    table = read(tmp_path, 'image,labels\n0.jpg,"cat"s\n1.jpg,19" rack\n2.jpg,"19"" rack"\n')
    assert [p.where.rpartition(":")[2] for p in table.problems] == ["2"]
    assert [row.names for row in table.rows] == [{'19" rack'}] * 2
    with pytest.raises(DataError, match=r"labels\.csv:1 opens a quote that is not closed"):
        read(tmp_path, 'image,"labels\n0.jpg,cat\n')


def test_a_line_break_parts_labels_and_is_part_of_no_name(tmp_path):
    table = read(tmp_path, b'image,labels\r\n0.jpg,"cat\ndog;ox"\r\n"1\n.jpg",cat\r\n2.jpg,"cat\r\n\r\n"\r\n')
    assert [(row.entry, sorted(row.names)) for row in table.rows] == [
        ("0.jpg", ["cat", "dog", "ox"]),
        ("2.jpg", ["cat"]),
    ]
    assert told(tmp_path, table.problems) == [
        ("bad-row", "labels.csv:4", "holds a line break in the column 'image'. Take it out; the row is not used.")
    ]
    separator = read(tmp_path, "image,labels\n0.jpg,cat\u2028dog\n")
    assert [row.names for row in separator.rows] == [{"cat", "dog"}]


def test_columns_in_any_case_and_columns_that_are_not_read(tmp_path):
    table = read(tmp_path, "Image,SPLIT,Label,photographer\n0.jpg,train,cat,Ann\n")
    assert [(row.entry, row.split, row.names) for row in table.rows] == [("0.jpg", "train", {"cat"})]
    assert table.unread == ("photographer",)


def parted(tmp_path, *cells, listed=None):
    table = read(tmp_path, "image,labels\n" + "".join(f'{i}.jpg,"{cell}"\n' for i, cell in enumerate(cells)))
    rows, problems = part_labels(table.rows, listed)
    return [sorted(row.names) if row.is_clear else None for row in rows], [
        (p.kind, p.where.rpartition(":")[2]) for p in problems
    ]


def test_names_joined_by_other_marks(tmp_path):
    # Known where they stand alone ...
    assert parted(tmp_path, "cat", "dog", "cat|dog", "dog, cat") == (
        [["cat"], ["dog"], ["cat", "dog"], ["cat", "dog"]],
        [("joined-labels", "4"), ("joined-labels", "5")],
    )
    # ... or are joined with each other in several ways.
    assert parted(tmp_path, "a|b", "b|c", "a|c")[0] == [["a", "b"], ["b", "c"], ["a", "c"]]
    # A comma may belong to a name; nothing else knows its parts. A note tells how it is read.
    assert parted(tmp_path, "bird, small", "cat") == ([["bird, small"], ["cat"]], [("joined-labels", "2")])
    # Asked about: some parts are known, or a mark that no name holds.
    assert parted(tmp_path, "cat", "cat|ox", "cat|ox") == ([["cat"], None, None], [("unclear-labels", "3")])
    assert parted(tmp_path, "cat", "cat, small") == ([["cat"], None], [("unclear-labels", "3")])
    assert parted(tmp_path, "cat", "dog|ox") == ([["cat"], None], [("unclear-labels", "3")])
    assert parted(tmp_path, "cat", "background|cat")[0] == [["cat"], ["cat"]]


def test_a_list_of_classes_decides(tmp_path):
    assert parted(tmp_path, "cat|ox", "cat, small", listed=("cat|ox", "cat, small")) == (
        [["cat|ox"], ["cat, small"]],
        [],
    )
    assert parted(tmp_path, "cat|ox", listed=("cat", "ox")) == ([["cat", "ox"]], [("joined-labels", "2")])
    assert parted(tmp_path, "cat|cow", listed=("cat", "ox")) == (
        [["cat|cow"]],
        [],
    )  # an unknown class, which its reader reports


def test_the_message_names_rows(tmp_path):
    table = read(tmp_path, "image,labels\n0.jpg,cat\n1.jpg,cat|ox\n2.jpg,cat|ox\n")
    (problem,) = part_labels(table.rows, None)[1]
    assert problem.message == (
        "is 'cat|ox' one class, or the labels cat, ox (in 2 rows: 3, 4)? Separate labels by ';', or list the class in"
        " classes.txt;"
        " not used."
    )


def test_a_class_that_consists_of_others_is_noted():
    (note,) = joined_names(["cat", "dog", "cat/dog", "and/or", "bird, small"], "x")
    assert (note.kind, note.message[:45]) == ("joined-labels", "'cat/dog' consists of the other classes cat, ")
