"""The file of API keys: what it may hold, who is let in by it, and what becomes of its changes."""

import asyncio
import hmac
import logging
from pathlib import Path

import pytest

from service.api_keys import MAX_KEYS, MIN_KEY_CHARACTERS, ApiKeys
from service.errors import ErrorKind, RequestError
from service.exposure import exposure_warning
from service.setting_spec import SettingsError

ALICE = "alices-key.0123456789_abcdef"
BOB = "Ym9icyBrZXkgd2l0aCBwYWRkaW5n=="
CAROL = "carols~key+with/all-signs0"
FILE = f"""\
# Those who may ask.
{ALICE} alice   # hers

  {BOB}\tbob-2
{CAROL}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three keys."""
    path = tmp_path / "keys"
    path.write_text(FILE, encoding="utf-8")
    return path


def name_of(keys: ApiKeys, *authorizations: str) -> str | None:
    found = keys.find(authorizations)
    return None if found is None else found.name


def refusal(keys: ApiKeys, *authorizations: str) -> RequestError:
    with pytest.raises(RequestError) as refused:
        keys.demand(authorizations)
    assert refused.value.kind is ErrorKind.INVALID_API_KEY
    return refused.value


def test_each_key_lets_in_under_its_name(path: Path) -> None:
    keys = ApiKeys(path)
    assert keys.num_keys == 3
    assert name_of(keys, f"Bearer {ALICE}") == "alice"
    assert name_of(keys, f"bearer   {BOB} ") == "bob-2"
    assert name_of(keys, f"BEARER {CAROL}") == "line-5"
    assert keys.demand([f"Bearer {ALICE}"]).name == "alice"


def test_a_file_of_another_system_reads_the_same(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    assert name_of(ApiKeys(path), f"Bearer {ALICE}") == "alice"


def test_nothing_but_a_whole_key_lets_in(path: Path) -> None:
    """H13, interfaces 16: prefixes of all lengths, case, other schemes, two headers at once."""
    keys = ApiKeys(path)
    for wrong in (
        *(f"Bearer {ALICE[:length]}" for length in range(len(ALICE))),
        f"Bearer {ALICE}x",
        f"Bearer {ALICE.upper()}",
        f"Bearer {ALICE} {ALICE}",
        f"Basic {ALICE}",
        f"Bearer{ALICE}",
        f"Token Bearer {ALICE}",
        ALICE,
        "alice",
        "Bearer alice",
        "Bearer \u00e4\udc80",
        "Bearer",
        "",
    ):
        assert name_of(keys, wrong) is None, wrong
        assert ALICE not in refusal(keys, wrong).message
    assert "known" in refusal(keys, "Bearer x").message
    assert "must be sent" in refusal(keys).message
    refusal(keys, f"Bearer {ALICE}", f"Bearer {ALICE}")
    refusal(keys, f"Bearer {ALICE}", "Bearer x")


def test_a_key_is_compared_with_all_as_hashes_in_constant_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H13: by structure. Whichever key matches, and whether one does, the work is the same."""
    keys = ApiKeys(path)
    compare = hmac.compare_digest
    compared: list[tuple[bytes, bytes]] = []

    def watched(given: bytes, known: bytes) -> bool:
        compared.append((given, known))
        return compare(given, known)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for authorizations in ([f"Bearer {ALICE}"], [f"Bearer {CAROL}"], ["Bearer x"], []):
        compared.clear()
        keys.find(authorizations)
        assert len(compared) == 3
        assert len({known for _, known in compared}) == 3
        assert all(len(given) == len(known) == 32 for given, known in compared)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "there is no key in it"),
        (" \n# nothing\n\t\n", "there is no key in it"),
        ("short", f"line 1: a key must have from {MIN_KEY_CHARACTERS} to 512 characters, got 5"),
        (f"\n{ALICE[: MIN_KEY_CHARACTERS - 1]}", "line 2: a key must have from"),
        ("x" * 513, "line 1: a key must have from"),
        (f"{ALICE} alice the second", "line 1 must be KEY or KEY NAME, got 4 words"),
        (f"{ALICE} al/ice", "line 1: a name must be 1 to 19"),
        (f"alice {ALICE}", "line 1: a key must have from"),
        # A key where a name belongs is never taken for one.
        (f"{'name' * 6} {ALICE}", "line 1: a name must be 1 to 19"),
        (f"{ALICE}#not-a-comment", "line 1: a key must be letters"),
        (f"k\u00e9y{ALICE}", "line 1: a key must be letters"),
        (f"{ALICE}\n# one\n{ALICE} twice", "line 3 has the same key as line 1"),
        (
            "\n".join(f"{ALICE}{number}" for number in range(MAX_KEYS + 1)),
            "line 1001: there must be at most",
        ),
        (b"\xff\xfe" + ALICE.encode("utf-16-le"), "it is not UTF-8 text"),
        (b"\0" * ((1 << 20) + 1), "it must be at most 1048576 bytes"),
    ],
)
def test_a_wrong_file_is_one_line_that_repeats_no_key(
    path: Path, content: str | bytes, words: str
) -> None:
    """H12: never served as if no keys were asked for."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as refused:
        ApiKeys(path)
    message = str(refused.value)
    assert message.startswith(f"--api-key-file {path}: ")
    assert words in message
    assert "\n" not in message
    assert ALICE[:8] not in message


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """H12."""
    with pytest.raises(SettingsError, match="it cannot be read: No such file or directory"):
        ApiKeys(tmp_path / "nothing")
    with pytest.raises(SettingsError, match="it is no regular file"):
        ApiKeys(tmp_path)
    with pytest.raises(SettingsError, match="it is no regular file"):
        ApiKeys(Path("/dev/null"))


def test_a_change_is_taken_up_and_a_wrong_one_leaves_the_keys_from_before(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    keys = ApiKeys(path)

    def look(content: str | None) -> None:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content, encoding="utf-8")
        # Twice: what only one look has found is not sure yet.
        told.extend(outcome for _ in range(2) if (outcome := asyncio.run(keys.look())))

    with caplog.at_level(logging.INFO, logger="service.api_keys"):
        look(FILE)
        assert told == []
        look(f"{BOB} bob")
        assert told == ["taken_up"]
        assert name_of(keys, f"Bearer {ALICE}") is None
        assert name_of(keys, f"Bearer {BOB}") == "bob"
        # Emptied, gone, wrong: each said once, and none opens the server or closes it.
        for content in ("", "", None, None, "short"):
            look(content)
            assert name_of(keys, f"Bearer {BOB}") == "bob"
        assert told == ["taken_up", "refused", "refused", "refused"]
        look(f"{BOB} bob")
        look("short")
        look(FILE)
        assert told[4:] == ["refused", "taken_up"]
        assert name_of(keys, f"Bearer {ALICE}") == "alice"
    assert "the API keys from before stay in force" in caplog.text
    assert not [key for key in (ALICE, BOB, CAROL) if key in caplog.text]


def test_half_a_file_is_never_in_force(path: Path) -> None:
    """Every beginning of a file may be met while it is written, and some hold a cut key."""
    keys = ApiKeys(path)
    known = {f"Bearer {key}" for key in (ALICE, BOB, CAROL)}
    for length in range(len(FILE) + 1):
        path.write_text(FILE[:length], encoding="utf-8")
        assert asyncio.run(keys.look()) is None
        assert all(keys.find([shown]) for shown in known), length
    path.write_text(ALICE[:-1], encoding="utf-8")
    assert [asyncio.run(keys.look()) for _ in range(3)] == [None, "taken_up", None]
    assert name_of(keys, f"Bearer {ALICE}") is None
    assert name_of(keys, f"Bearer {ALICE[:-1]}") == "line-1"


def test_a_secret_that_is_swapped_by_its_link_is_taken_up(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets: a link to a folder is replaced, the path stays."""
    for version, key in (("1", ALICE), ("2", BOB)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(key, encoding="utf-8")
    (tmp_path / "data").symlink_to("1")
    keys = ApiKeys(tmp_path / "data" / "keys")
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(tmp_path / "data")
    assert [asyncio.run(keys.look()) for _ in range(2)] == [None, "taken_up"]
    assert name_of(keys, f"Bearer {ALICE}") is None
    assert name_of(keys, f"Bearer {BOB}") == "line-1"


def test_following_goes_on_whatever_a_look_meets(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        keys = ApiKeys(path)
        looks = asyncio.Event()
        told: list[str] = []
        num_looks = 0

        async def broken() -> str:
            nonlocal num_looks
            num_looks += 1
            if num_looks < 3:
                raise ValueError("a bug")
            return "taken_up"

        def note(outcome: str) -> None:
            told.append(outcome)
            looks.set()

        monkeypatch.setattr(keys, "look", broken)
        following = asyncio.create_task(keys.follow(note, interval_seconds=0.001))
        async with asyncio.timeout(30):
            await looks.wait()
        assert told[0] == "taken_up"
        assert not following.done()
        following.cancel()
        await asyncio.wait((following,))

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
@pytest.mark.parametrize("has_keys", [False, True])
def test_nothing_is_said_where_only_this_machine_gets_in(host: str, has_keys: bool) -> None:
    assert exposure_warning(host, has_keys=has_keys, management_port=9090) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "a.name"])
def test_one_line_warns_of_an_address_that_others_reach(host: str) -> None:
    """Interfaces 40: without keys of that, with keys of what travels unencrypted, if it does."""
    without = exposure_warning(host, has_keys=False, management_port=None) or ""
    assert "no API keys" in without
    assert "--api-key-file" in without
    beside = exposure_warning(host, has_keys=True, management_port=None) or ""
    assert "--tls-certificate-file" in beside
    assert exposure_warning(host, has_keys=True, management_port=None, has_tls=True) is None
    assert host in without
    assert host in beside
    assert "\n" not in without + beside
    assert "--management-port" not in without + beside
    for has_keys, words in ((False, without), (True, beside)):
        told = exposure_warning(host, has_keys=has_keys, management_port=9090) or ""
        assert told.startswith(f"{words}; --management-port 9090 shows")
