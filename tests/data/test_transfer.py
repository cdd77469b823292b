"""One file from several addresses: the right bytes under their name, or an error and nothing wrong."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from camground.data.download.transfer import PIECE, Expected, digest, transfer
from camground.study.errors import UserError
from file_server import CONTENT, HALF, QUICK, Server, sha256


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "got" / "file.bin"


KNOWN = Expected(len(CONTENT), {"sha256": sha256(CONTENT)})


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_whole_file_under_its_name_and_nothing_else(server: Server, target: Path) -> None:
    address = server.add("/file")
    assert transfer((address,), target, KNOWN, QUICK) == address
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


@pytest.mark.parametrize("known", [KNOWN, Expected()])
def test_a_break_is_gone_on_from(server: Server, target: Path, known: Expected) -> None:
    address = server.add("/file", breaks=[HALF, 3 * PIECE])
    transfer((address,), target, known, QUICK)
    assert target.read_bytes() == CONTENT
    page = server.pages["/file"]
    assert page.asked == ["", f"bytes={HALF}-", f"bytes={HALF + 3 * PIECE}-"]
    assert page.sent == len(CONTENT)


def test_an_interrupted_run_goes_on_with_only_the_rest(server: Server, target: Path) -> None:
    address = server.add("/file", breaks=[HALF, *[0] * 9])
    with pytest.raises(UserError, match="gave up after 3 attempts in a row"):
        transfer((address,), target, Expected(), QUICK)
    assert left(target) == ["file.bin.part", "file.bin.part.json"]
    page = server.pages["/file"]
    page.breaks, before = [], page.sent
    transfer((address,), target, Expected(), QUICK)
    assert target.read_bytes() == CONTENT
    assert page.sent - before == len(CONTENT) - HALF
    assert left(target) == ["file.bin"]


def test_a_mirror_that_is_down_does_not_cost_the_part_of_the_next(server: Server, target: Path) -> None:
    down, address = server.address("/down"), server.add("/file", breaks=[HALF], vanishes=True)
    with pytest.raises(UserError, match="answers 404"):
        transfer((down, address), target, Expected(), QUICK)
    page = server.pages["/file"]
    page.vanishes, before = False, page.sent
    assert transfer((down, address), target, Expected(), QUICK) == address
    assert target.read_bytes() == CONTENT
    assert page.sent - before == len(CONTENT) - HALF


def test_a_server_without_ranges_starts_again(server: Server, target: Path) -> None:
    address = server.add("/file", ranges=False, breaks=[HALF])
    transfer((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    page = server.pages["/file"]
    assert page.asked == ["", f"bytes={HALF}-"]
    assert page.sent == HALF + len(CONTENT)


def test_a_server_that_always_breaks_off_gives_way_to_the_next(server: Server, target: Path) -> None:
    bad = server.add("/bad", ranges=False, breaks=[HALF] * 50)
    good = server.add("/good")
    assert transfer((bad, good), target, Expected(), QUICK) == good
    assert target.read_bytes() == CONTENT
    assert server.pages["/bad"].sent == 4 * HALF
    # bytes of another address are not gone on from while nothing can prove the whole
    assert server.pages["/good"].asked == [""]


def test_a_known_digest_lets_the_next_mirror_go_on(server: Server, target: Path) -> None:
    bad = server.add("/bad", breaks=[HALF, *[0] * 9])
    good = server.add("/good", tag='"other"')
    assert transfer((bad, good), target, KNOWN, QUICK) == good
    assert target.read_bytes() == CONTENT
    assert server.pages["/good"].sent == len(CONTENT) - HALF


def test_bytes_of_a_bad_mirror_do_not_spoil_a_good_one(server: Server, target: Path) -> None:
    bad = server.add("/bad", content=bytes(len(CONTENT)), breaks=[HALF, *[0] * 9])
    good = server.add("/good")
    assert transfer((bad, good), target, KNOWN, QUICK) == good
    assert target.read_bytes() == CONTENT
    assert server.pages["/good"].asked == [f"bytes={HALF}-", ""]


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_is_not_spliced(heeds: bool, server: Server, target: Path) -> None:
    address = server.add("/file", breaks=[HALF, *[0] * 9])
    with pytest.raises(UserError):
        transfer((address,), target, Expected(), QUICK)
    changed = CONTENT[::-1]
    server.add("/file", content=changed, tag='"v2"', heeds_if_range=heeds)
    transfer((address,), target, Expected(), QUICK)
    assert target.read_bytes() == changed
    asked = [f"bytes={HALF}-"]  # answered with the whole new file where If-Range is heeded
    assert server.pages["/file"].asked == (asked if heeds else [*asked, ""])


def test_a_part_without_version_is_not_gone_on_from(server: Server, target: Path) -> None:
    address = server.add("/file", tag="", breaks=[HALF])
    transfer((address,), target, Expected(), QUICK)
    assert target.read_bytes() == CONTENT
    assert server.pages["/file"].asked == ["", ""]


def test_a_part_longer_than_the_file_is_dropped(server: Server, target: Path) -> None:
    address = server.add("/file", content=CONTENT[:HALF])
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT)
    transfer((address,), target, Expected(None, {"sha256": sha256(CONTENT[:HALF])}), QUICK)
    assert target.read_bytes() == CONTENT[:HALF]


def test_a_part_that_is_already_whole_is_taken(server: Server, target: Path) -> None:
    address = server.add("/file")
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT)
    transfer((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    assert server.pages["/file"].sent == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"content": bytes(len(CONTENT))}, "its sha256 is"),
        ({"content": CONTENT + b"more"}, f"it has {len(CONTENT) + 4} bytes, not {len(CONTENT)}"),
        ({"content": CONTENT[:HALF]}, f"it has {HALF} bytes, not {len(CONTENT)}"),
        ({"statuses": [404]}, "answers 404"),
        ({"statuses": [403]}, "answers 403"),
        ({"statuses": [500] * 9}, "answers 500"),
        ({"statuses": [503] * 9}, "answers 503"),
        ({"location": "/round"}, "redirects without end"),
        ({"location": "ftp://nowhere/file"}, "ftp"),
        ({"breaks": [HALF, *[PIECE] * 99], "first_byte": 1}, "another range than asked for"),
    ],
)
def test_a_bad_address_gives_way_and_alone_is_an_error(
    wrong: dict[str, Any], message: str, server: Server, target: Path
) -> None:
    bad = server.add("/round", **deepcopy(wrong))
    with pytest.raises(UserError, match=re.escape(message)):
        transfer((bad,), target, KNOWN, QUICK)
    assert left(target) == []
    bad, good = server.add("/round", **deepcopy(wrong)), server.add("/good")
    assert transfer((bad, good), target, KNOWN, QUICK) == good
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


def test_a_passing_error_is_waited_out(server: Server, target: Path) -> None:
    address = server.add("/file", statuses=[503, 429])
    transfer((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    assert len(server.pages["/file"].asked) == 3


def test_a_redirect_is_followed_with_the_range(server: Server, target: Path) -> None:
    moved = server.add("/moved", location="/file")
    server.add("/file", breaks=[HALF])
    transfer((moved,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    assert server.pages["/file"].asked == ["", f"bytes={HALF}-"]


def test_a_length_that_nobody_says_is_refused(server: Server, target: Path) -> None:
    address = server.add("/file", length=False)
    with pytest.raises(UserError, match="says nowhere how long"):
        transfer((address,), target, Expected(), QUICK)
    assert left(target) == []
    server.pages["/file"].breaks = [HALF]
    transfer((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT


def test_nobody_listens(server: Server, target: Path) -> None:
    address = server.address("/file")
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match=r"(?s)could not be downloaded.*refused"):
        transfer((address,), target, KNOWN, QUICK)


def test_digests_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello world\n")
    assert digest(path, "md5") == "6f5902ac237024bdd0c176cb93063dc4"
    # `git hash-object hello`
    assert digest(path, "git_blob") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"
