"""What errors say."""

from recam.errors import first_line


def test_errors_of_other_packages_in_one_line():
    assert first_line(ValueError("\n the first\nthe second")) == "the first"
    assert first_line(ValueError("x" * 300)) == "x" * 200
    assert first_line(ValueError()) == "ValueError"
