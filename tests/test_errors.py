"""What errors say."""

from recam.errors import first_line, near_matches


def test_errors_of_other_packages_in_one_line():
    assert first_line(ValueError("\n the first\nthe second")) == "the first"
    assert first_line(ValueError("x" * 300)) == "x" * 200
    assert first_line(ValueError()) == "ValueError"


def test_near_matches_name_at_most_ten():
    few, many = ("bus", "car", "cat"), [f"net{number:03}" for number in range(300)]
    assert near_matches("cot", few) == " Did you mean 'cat'?"
    assert near_matches("xyz", few) == " Known: bus, car, cat."
    assert near_matches("xyz", ()) == ""
    told = near_matches("x2y9z9", many, "`list_nets()`")
    assert told.startswith(" Nearest of 300 known: ")
    assert told.endswith(". `list_nets()` lists all 300.")
    assert told.count("net") - 1 == 10  # and the one in the name of the list
    assert near_matches("net0077", many, "`list_nets()`").endswith("? `list_nets()` lists all 300.")
    assert len(near_matches("y" * 1_000_000, many)) < 200
