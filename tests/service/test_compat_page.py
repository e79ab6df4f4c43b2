"""What `make compat` makes of docs/clients.md: sections with blocks, and a table of its own."""

from pathlib import Path

import pytest

from campaigns.compat.clients import CLIENTS
from campaigns.compat.page import Place, blocks_of
from campaigns.compat.table import read_table, write_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
PLACE = Place("http://127.0.0.1:1", "127.0.0.1:2", "tiny", "folder/of/tiny")
# What the blocks of the page name must not be asked for here.
OF_THE_PAGE = ("127.0.0.1:8000", "127.0.0.1:50051", "fairytales", "smollm2")


@pytest.mark.parametrize("section", sorted({client.section for client in CLIENTS}))
def test_the_blocks_of_a_section_are_about_the_server_that_there_is(section: str) -> None:
    blocks = list(blocks_of(PAGE.read_text("utf-8"), section, PLACE))
    assert blocks
    for block in blocks:
        assert not [word for word in OF_THE_PAGE if word in block.text], block
        assert PLACE.rest in block.text or PLACE.grpc in block.text


def test_a_section_that_is_not_there_is_no_empty_one() -> None:
    with pytest.raises(ValueError, match="no section"):
        list(blocks_of(PAGE.read_text("utf-8"), "nobody", PLACE))


def test_rows_of_one_run_leave_the_others_as_they_are(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8"))
    before = read_table(page.read_text("utf-8"))
    first, second, *_ = CLIENTS
    write_table(page, [(second, "2.0", "9")])
    write_table(page, [(first, "1.0", "7")])
    table = read_table(page.read_text("utf-8"))
    assert "| 1.0 |" in table[first.name]
    assert "| 2.0 |" in table[second.name]
    assert set(table) == {*before, first.name, second.name}
    assert page.read_text("utf-8").count("## What OpenAI's API is here") == 1


def test_a_page_without_a_place_for_it_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Clients\n")
    with pytest.raises(ValueError, match="no lines"):
        write_table(page, [(CLIENTS[0], "1", "1")])
